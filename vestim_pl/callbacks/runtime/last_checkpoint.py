"""Write the last state of a training to disk."""

import logging
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from vestim_pl.callbacks.runtime.checkpoint_interval import parse_interval
from vestim_pl.lightning_support.checkpoint_files import keep_checkpoints_whole, write_whole
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.exact_resume import (
    ends_within_epoch,
    exact_after_batch,
    is_epoch_end,
    keep_validation,
    resume_with_next_epoch,
    settle_validation,
    undo_resume_with_next_epoch,
)
from vestim_pl.lightning_support.lightning_classes import early_stopping_callbacks

__all__ = ["LastCheckpoint"]

_log = logging.getLogger("vestim_pl")


class LastCheckpoint(Checkpoint):
    """Write a checkpoint of the last state at the end of every epoch and at intervals within long epochs.

    ``ModelCheckpoint(save_last=True)`` writes ``last.ckpt`` only where it has just saved a better model, so that file
    may be many epochs old. This callback writes it anew whatever the metric says, and only at moments from which a
    training resumes exactly: at the end of an epoch, after its validation, and within an epoch after a complete
    optimizer step. If a validation follows that step, the resumed run starts with it. With
    `RandomStateCheckpoint` and a stateful data loader, resuming is then exact to the bit.

    A training that ``max_steps``, ``max_time`` or a callback ends within an epoch leaves the checkpoint of its last
    step, from which the epoch continues; Lightning would count that epoch as finished. A training that EarlyStopping
    ended stays ended when it is resumed.

    Files are written whole or not at all, including those of other checkpoint callbacks (`WholeCheckpointIO`). After a
    rollback of ``DivergenceRecovery``, the file is rewritten at the next exact moment.

    The callback moves to the end of the list of callbacks, so that the file includes the changes of all others. A
    ``ReduceLROnPlateau`` that Lightning steps every epoch is updated after every checkpoint of that epoch; use
    `PlateauLearningRate` to resume exactly.

    Args:
        path: File to write.
        every: Interval within an epoch, such as ``10 min``, ``2 h`` or ``500 steps``; None for epoch ends only.

    Raises:
        ConfigurationError: If the interval cannot be parsed.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[LastCheckpoint("checkpoints/last.ckpt", every="500 steps")], logger=False)

    """

    def __init__(self, path: str, every: str | None = "10 min") -> None:
        self.path = Path(path)
        self.interval = parse_interval(every, f"{type(self).__name__}.every")
        self._saved_at, self._saved_step = time.monotonic(), 0
        self._due = self._rolled_back = self._ended_within_epoch = self._resumes_after_epoch = False
        self._written = False

    @property
    def dirpath(self) -> str:
        """Folder of the file."""
        return str(self.path.parent)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if callbacks[-1] is not self:  # a new list, because Lightning is iterating over the old one
            trainer.callbacks = [*(c for c in callbacks if c is not self), self]  # type: ignore[attr-defined]
        if stage == "fit":
            keep_checkpoints_whole(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._resumes_after_epoch = trainer.state.fn == "fit" and is_epoch_end(checkpoint)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._resumes_after_epoch:
            resume_with_next_epoch(trainer)
            if any(stopper.wait_count >= stopper.patience for stopper in early_stopping_callbacks(trainer)):
                trainer.should_stop = True  # as it was at the end of that epoch
                if trainer.is_global_zero:
                    _log.info("early stopping has already ended this training; remove EarlyStopping to train further")
        self._resumes_after_epoch = self._written = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        undo_resume_with_next_epoch(trainer)
        settle_validation(trainer)
        self._due = self._rolled_back = self._ended_within_epoch = False
        self._note(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._ended_within_epoch = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._ended_within_epoch = ends_within_epoch(trainer)
        if (self._ended_within_epoch or self._is_due(trainer)) and exact_after_batch(trainer):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._ended_within_epoch:
            self._save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        keep_validation(trainer, checkpoint)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the checkpoint resumed from, such as ``best.ckpt``, if it was already the end of the training."""
        source = Path(str(trainer.ckpt_path)) if trainer.ckpt_path and not self._written else self.path
        real = trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if real and source.is_file() and source.absolute() != self.path.absolute():
            write_whole(self.path, source.read_bytes())

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        undo_resume_with_next_epoch(trainer)

    def rewrite_file(self, trainer: Trainer) -> None:
        """Replace the file, which may hold what a rollback has left: at the next exact moment, in an exception now."""
        self._due = self._rolled_back = True
        if trainer.interrupted:
            self._save(trainer)

    def _is_due(self, trainer: Trainer) -> bool:
        """Return whether the interval has passed or the file must be rewritten; the clock of rank zero decides."""
        if self.interval.seconds is not None or self.interval.steps is not None:
            passed = self.interval.passed(time.monotonic() - self._saved_at, trainer.global_step - self._saved_step)
            self._due |= bool(trainer.strategy.broadcast(passed)) if trainer.world_size > 1 else passed
        return self._due

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        trainer.save_checkpoint(self.path)
        self._written = True
        if self._rolled_back:
            text = f"overwrote {self.path} with the last good state"
            publish(trainer, "checkpoint_removed", text, path=str(self.path))
        self._due = self._rolled_back = False
        self._note(trainer)

    def _note(self, trainer: Trainer) -> None:
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
