"""Ctrl-C without loss: finish the step, save, stop."""

import logging
import signal
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.functional.events import publish

__all__ = ["GracefulInterrupt"]


class GracefulInterrupt(Callback):
    """On Ctrl-C, finishes the running step, writes a checkpoint that resumes exactly, and stops the training.

    Lightning's own way leaves in the middle of a step, where weights, optimizer and counters may disagree. Here the
    first Ctrl-C asks for a stop at the end of the step; a second one is passed on and interrupts at once. After
    ``fit``, ``interrupted`` tells whether it happened and ``checkpoint`` where to go on from.

    Event: ``interrupt``.

    Args:
        path: Checkpoint to write.

    Example::

        >>> GracefulInterrupt("checkpoints/last.ckpt").interrupted
        False

    """

    def __init__(self, path: str) -> None:
        self.checkpoint = Path(path)
        self.interrupted = False
        self._previous: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.interrupted = False
        try:
            self._previous = signal.signal(signal.SIGINT, self._ask_to_stop)
        except ValueError:  # not in the main thread: signals are somebody else's
            self._previous = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch:  # Lightning would skip this epoch's validation on resume; the next step is soon
            return
        if trainer.strategy.reduce_boolean_decision(self.interrupted, all=False) and not trainer.should_stop:
            trainer.save_checkpoint(self.checkpoint)
            publish(
                trainer,
                "interrupt",
                f"interrupted after step {trainer.global_step}; saved {self.checkpoint}",
                batch=batch_idx,
                level=logging.INFO,
            )
            raise KeyboardInterrupt

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._give_back()

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            self._give_back()
            raise KeyboardInterrupt
        self.interrupted = True

    def _give_back(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None
