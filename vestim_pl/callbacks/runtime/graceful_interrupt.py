"""Handle signals and a step limit without loss: finish the step, save a checkpoint, stop."""

import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.exact_resume import (
    exact_after_batch,
    in_validation,
    keep_validation,
    settle_validation,
)
from vestim_pl.lightning_support.processes import child_processes, gather
from vestim_pl.lightning_support.stop_request import Interrupted, StopRequest, signal_name, without_lightnings_handlers

__all__ = ["GracefulInterrupt"]


class GracefulInterrupt(Callback):
    """On Ctrl-C, SIGTERM, SIGHUP or SIGUSR1, finish the current step, save a resumable checkpoint, and stop.

    Lightning's behaviour depends on the signal. It stops in the middle of a step, where weights, optimizer and counters
    may disagree; it saves nothing; or, under Slurm, it saves within the signal handler. Here the first signal is
    acknowledged at once and requests a stop. A second signal ends the process at once and keeps what is on disk.

    ================================ ================================================================================
    signal arrives                   training stops
    ================================ ================================================================================
    during a step                    after the step; with accumulated gradients, after the optimizer step that uses them
    during the last step before a    after the step and before the validation, with which the resumed run begins
    validation
    during a validation              after the validation batch; the resumed run repeats the whole validation
    at the end of an epoch           after the next step; if an epoch has only one step, at the end of the next epoch
    after the last validation        as it would anyway, because it is complete; later commands do not run
    ================================ ================================================================================

    Training then ends with `Interrupted`. If this exception is not caught, the process exits with 128 plus the signal
    number and without a traceback. ``interrupted`` is true after an interrupt, and ``checkpoint`` is the file to resume
    from. All processes of a distributed training stop after the same step, whichever of them receives the signal. Put
    this callback after those that act at the end of a batch, so that the checkpoint includes their changes. Use
    `RandomStateCheckpoint` to resume bit for bit.

    A training that ``max_steps`` ends within an epoch also leaves such a checkpoint. Lightning leaves no checkpoint of
    the last steps, or one that counts the epoch as finished, so that a resumed run starts with the next epoch.

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
        self._request: StopRequest | None = None
        self._leave = ExitStack()
        self._waits = False
        self._shared_batches = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self._leave.close()
        self.interrupted, self._at_limit, self._waits = False, None, False
        self._leave.enter_context(without_lightnings_handlers(trainer))
        self._request = StopRequest.current() or self._leave.enter_context(StopRequest("training"))
        self._leave.enter_context(self._request.deferred("finishing the step, then saving"))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._request is not None:
            self._request.children = child_processes(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        settle_validation(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        last = trainer.is_last_batch
        if not last and 0 <= trainer.max_steps <= trainer.global_step and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._at_limit = self.checkpoint.with_suffix(".at_limit")
            trainer.save_checkpoint(self._at_limit)
        number = self._asked(trainer)
        if not number or trainer.should_stop:
            return
        if exact_after_batch(trainer):
            self._stop(trainer, number, batch_idx)
        elif last:
            self._waits = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._request is None or trainer.sanity_checking:
            self._shared_batches = 0
        elif trainer.world_size == 1:
            self._shared_batches = float("inf")
        else:  # ranks may have different numbers of batches; ask only while all of them have one
            own = float(sum(trainer.num_val_batches))
            self._shared_batches = min(0.0 if count == float("inf") else count for count in gather(trainer, own))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._shared_batches -= 1
        if self._shared_batches < 0 or not in_validation(trainer) or trainer.should_stop:
            return
        if number := self._asked(trainer):
            self._stop(trainer, number, None)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ends = trainer.max_epochs not in (None, -1) and trainer.current_epoch + 1 >= trainer.max_epochs
        if self._waits and trainer.num_training_batches == 1 and not ends and not trainer.should_stop:
            self._stop(trainer, self._asked(trainer), None)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._request is not None:
            keep_validation(trainer, checkpoint)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._at_limit is not None and trainer.is_global_zero:  # replaces the file that ModelCheckpoint wrote later
            os.replace(self._at_limit, self.checkpoint)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        request = self._request
        self._give_back()
        if request is not None and request.signal is not None and request is not StopRequest.current():
            reason = f"interrupted by {signal_name(request.signal)} after the training had finished"
            raise Interrupted(request.signal, reason)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._give_back()

    def _asked(self, trainer: Trainer) -> int:
        """Return the number of the signal that any process has received, or 0; every process must call this."""
        own = (self._request.signal if self._request is not None else None) or 0
        if not trainer.strategy.reduce_boolean_decision(own > 0, all=False):
            return 0
        return max(gather(trainer, own))

    def _stop(self, trainer: Trainer, number: int, batch_idx: int | None) -> None:
        where = "in the validation after" if trainer.validating else "after"
        reason = f"interrupted by {signal_name(number)} {where} step {trainer.global_step}"
        self.interrupted = True
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            before = _written(self.checkpoint)
            trainer.save_checkpoint(self.checkpoint)
            saved = _written(self.checkpoint) != before
            reason += f"; saved {self.checkpoint}" if saved else "; no checkpoint was written, see the log lines above"
        publish(trainer, "interrupt", reason, batch=batch_idx, level=logging.INFO, signal=signal_name(number))
        raise Interrupted(number, reason, reported=True)

    def _give_back(self) -> None:
        self._request = None
        self._leave.close()


def _written(path: Path) -> tuple[int, int] | None:
    """Return values that change whenever the file is written; None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
