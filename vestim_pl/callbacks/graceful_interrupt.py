"""Ctrl-C and a limit of steps without loss: finish the step, save, stop."""

import logging
import os
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

    A training that ``max_steps`` ends in the midst of an epoch leaves such a checkpoint too. Lightning leaves none of
    its last steps, or one that has counted the epoch as done, from which a run begins the next one instead.

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
        self._at_limit: Path | None = None
        self._previous: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.interrupted, self._at_limit = False, None
        try:
            self._previous = signal.signal(signal.SIGINT, self._ask_to_stop)
        except ValueError:  # not in the main thread: signals are somebody else's
            self._previous = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch:  # Lightning would skip this epoch's validation on resume; the next step is soon
            return
        if 0 <= trainer.max_steps <= trainer.global_step and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._at_limit = self.checkpoint.with_suffix(".at_limit")
            trainer.save_checkpoint(self._at_limit)
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
        if self._at_limit is not None and trainer.is_global_zero:  # in place of the one ModelCheckpoint wrote since
            os.replace(self._at_limit, self.checkpoint)

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
