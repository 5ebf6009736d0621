"""Go back to the last good state, slower, and on."""

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.functional.checkpoint_finiteness import (
    forget_nonfinite_scores,
    poisoned_entries,
    refresh_checkpoint,
    rewrite_latest,
)
from vestim_pl.functional.errors import ConfigurationError, DivergenceError
from vestim_pl.functional.events import publish
from vestim_pl.functional.finiteness import all_finite
from vestim_pl.functional.last_good_file import LastGoodFile
from vestim_pl.functional.learning_rate import LearningRateFactors
from vestim_pl.functional.loss_spike import LossWatch
from vestim_pl.functional.recovery_factor import RecoveryFactor
from vestim_pl.functional.recovery_story import effective_rate, tell_attempt, tell_story
from vestim_pl.functional.training_health import judge_batch
from vestim_pl.functional.training_snapshot import (
    SnapshotStore,
    refuse_sharded_weights,
    restore_snapshot,
    take_snapshot,
    tensors_in,
    trained_parameters,
)
from vestim_pl.functional.validation_verdict import (
    EarlyStoppingShield,
    nonfinite_metrics,
    require_before_early_stopping,
)

__all__ = ["DivergenceRecovery"]


class DivergenceRecovery(Callback):
    """Restores the last good state when training diverges, cuts the learning rate, and goes on.

    Reasons: parameters or optimizer state that are not finite; a loss spike that stays
    (:class:`vestim_pl.functional.loss_spike.LossWatch`); a non-finite validation metric that EarlyStopping or
    ModelCheckpoint monitors; and whatever a guard asks for through :meth:`recover_from`.

    A snapshot holds parameters, buffers, optimizer moments, schedulers, gradient scaler, random state, and what the
    module itself adds to a checkpoint, such as a carried recurrent state. It is taken from finite state only, and
    counts once the next loss with its weights was good. If the newest leads astray again, the one before it is used.
    Schedules go back with the weights, so that they count the updates which are in them. ``global_step``, epochs, the
    position in the data and the random state go on: the same batches in the same order would lead to the same place.

    No checkpoint keeps what diverged: one about to be written with non-finite numbers triggers a recovery and gets
    the good state; after a recovery ``last.ckpt`` is written anew, and files with a non-finite score are removed, from
    ModelCheckpoint's books too.

    Place it after guards and other callbacks, so that what it saves has seen them; EarlyStopping must come after it.

    Events: ``rollback``, ``recovery`` (the rate is raised again), ``checkpoint_removed``.

    ============================== =================================================================================
    logged key (once an epoch)     meaning
    ============================== =================================================================================
    ``recovery/attempts``          recoveries so far
    ``recovery/factor``            factor on the learning rate, 1 before the first recovery
    ============================== =================================================================================

    Args:
        learning_rate_factor: What each recovery multiplies the learning rate by.
        max_attempts: Recoveries in one training; the next divergence stops it.
        snapshot_every: Optimizer steps between two snapshots; each costs a copy of the state, three are kept.
        raise_after: Quiet steps after which the learning rate is raised again, by ``raise_by``, up to its old value;
            up to half of the factor at which it diverged again, if it did. None leaves it cut.
        raise_by: Factor of each raise.
        spike_ratio: Least multiple of the running median that is a spike; None looks for no spikes.
        spike_deviations: Least number of standard deviations (from the median absolute deviation) for a spike.
        spike_window: Number of recent losses that a spike is judged by.
        spike_patience: Steps in a row that a spike has to stay.
        checkpoint_every: Snapshots between two writings of ``last_good.ckpt``; None writes none.
        dirpath: Folder of ``last_good.ckpt``; that of the first ModelCheckpoint, or ``checkpoints`` under the trainer's
            root, by default.
        monitor: Validation metric to watch; those of EarlyStopping and ModelCheckpoint by default.
        restore_random_state: Put torch's random state back too.
        save_snapshots: Keep the snapshots in checkpoints, so that a resumed run recovers just as an unbroken one. They
            make a checkpoint about four times as large.

    Raises:
        ConfigurationError: If an argument is out of range, or an EarlyStopping stands before this callback.
        DivergenceError: When all attempts are used up, with the story of all of them. The last good state is put back
            before, so that whatever saves on an exception saves that.

    Example::

        >>> recovery = DivergenceRecovery(learning_rate_factor=0.1, max_attempts=3)
        >>> recovery.attempts
        []

    """

    def __init__(
        self,
        learning_rate_factor: float = 0.1,
        max_attempts: int = 3,
        snapshot_every: int = 100,
        raise_after: int | None = None,
        raise_by: float = 2.0,
        spike_ratio: float | None = 5.0,
        spike_deviations: float = 10.0,
        spike_window: int = 100,
        spike_patience: int = 3,
        checkpoint_every: int | None = None,
        dirpath: str | None = None,
        monitor: str | None = None,
        restore_random_state: bool = False,
        save_snapshots: bool = True,
    ) -> None:
        if max_attempts < 0 or snapshot_every < 1:
            raise ConfigurationError(
                f"max_attempts={max_attempts}, snapshot_every={snapshot_every}: need 0 attempts and 1 step, or more"
            )
        self.max_attempts, self.snapshot_every, self.monitor = max_attempts, snapshot_every, monitor
        self.restore_random_state, self.save_snapshots = restore_random_state, save_snapshots
        self.rate = RecoveryFactor(learning_rate_factor, raise_after, raise_by)
        self.watch = LossWatch(spike_ratio, spike_deviations, spike_window, spike_patience)
        self.file = LastGoodFile(checkpoint_every, dirpath)
        self.snapshots = SnapshotStore()
        self._shield = EarlyStoppingShield()
        self._last_step = self._snapshot_step = 0
        self._progress = True
        self._ended = self._recovered = self._resumed = self._gave_up = False
        self._take_state({})

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        require_before_early_stopping(trainer, self)
        refuse_sharded_weights(trainer, "DivergenceRecovery")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._resumed:  # another training with the same callback, or a checkpoint written without it
            self._take_state({})
        self._ended = self._recovered = self._resumed = self._gave_up = False
        self._last_step = trainer.global_step
        LearningRateFactors.of(trainer).attach(trainer)
        LearningRateFactors.of(trainer).set("recovery", self.rate.value)
        if self.snapshots.newest is None and (snapshot := take_snapshot(trainer, pl_module)):
            self.snapshots.good, self._snapshot_step = [snapshot], trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._ended = False
        self._after_validation(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._recovered:  # else a guard before us recovered in this batch
            reason, good = judge_batch(trainer, pl_module, outputs, self.watch)
            if good and self.snapshots.confirm():
                self._progress = True
                self.file.confirm(trainer)
            if good and trainer.global_step != self._last_step:
                reason = self._quiet_step(trainer, pl_module)
            if reason:
                self._recover(trainer, pl_module, f"epoch {trainer.current_epoch}, batch {batch_idx}: {reason}")
        if self._recovered:
            self._mend_checkpoints(trainer)
        self._last_step = trainer.global_step
        self._ended = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if not fitting or not (bad := nonfinite_metrics(trainer, self.monitor)):
            return
        told = ", ".join(f"{name} is {value}" for name, value in bad.items())
        if self._recover(trainer, pl_module, f"epoch {trainer.current_epoch}: the validation metric {told}"):
            self._mend_checkpoints(trainer)
            self._shield.raise_over(trainer.early_stopping_callbacks, list(bad))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log_dict({"recovery/attempts": float(len(self.attempts)), "recovery/factor": self.rate.value})

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.snapshots.newest is None or not (bad := poisoned_entries(checkpoint, trained_parameters(pl_module))):
            return
        reason = f"epoch {trainer.current_epoch}: a checkpoint would hold non-finite numbers ({', '.join(bad)})"
        if self._recover(trainer, pl_module, reason):
            self._recovered = False
            refresh_checkpoint(trainer, checkpoint)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._after_validation(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._after_validation(trainer)
        LearningRateFactors.of(trainer).restore(trainer.optimizers)
        if self._gave_up:  # the good state is back in place
            self._mend_checkpoints(trainer)

    def recover_from(self, trainer: Trainer, pl_module: LightningModule, reason: str) -> bool:
        """Restore the last good state and cut the learning rate; at the end of a batch, and on all ranks alike.

        Args:
            trainer: The trainer.
            pl_module: The module in training.
            reason: What went wrong, where and when, without a full stop.

        Returns:
            True after a recovery; False where there is no snapshot yet.

        """
        recovered = self._recover(trainer, pl_module, reason)
        if recovered and self._ended:  # the guard comes after us: this batch will not pass here again
            self._mend_checkpoints(trainer)
        return recovered

    def _quiet_step(self, trainer: Trainer, pl_module: LightningModule) -> str:
        """Raise the learning rate and take a snapshot where due; the reason for a recovery if it is poisoned."""
        if self.rate.quiet_step():
            LearningRateFactors.of(trainer).set("recovery", self.rate.value)
            text = f"step {trainer.global_step}: quiet again, learning rate now {effective_rate(trainer):.3g}"
            publish(trainer, "recovery", text, level=logging.INFO, factor=self.rate.value)
        if trainer.global_step - self._snapshot_step < self.snapshot_every:
            return ""
        snapshot = take_snapshot(trainer, pl_module)
        if snapshot is None:
            return "the state of the optimizer is not finite"
        self._snapshot_step = trainer.global_step
        self.snapshots.offer(snapshot | {"watch": self.watch.state_dict()})
        if self.file.due:
            self.file.write(trainer)
        return ""

    def _recover(self, trainer: Trainer, pl_module: LightningModule, reason: str) -> bool:
        self.snapshots.step_back(to_older=not self._progress)
        self.file.discard(trainer)
        snapshot = self.snapshots.newest
        if snapshot is None or not all_finite(tensors_in(snapshot["optimizers"])):
            return False
        restore_snapshot(trainer, pl_module, snapshot, self.restore_random_state)
        self.watch.load_state_dict(snapshot.get("watch", {}))
        self._gave_up = len(self.attempts) >= self.max_attempts
        if self._gave_up:
            raise DivergenceError(tell_story(self.attempts, reason, effective_rate(trainer)))
        attempt = {"cause": reason, "step": trainer.global_step, "back_to_step": snapshot["global_step"]}
        attempt["learning_rate_before"] = effective_rate(trainer)
        LearningRateFactors.of(trainer).set("recovery", self.rate.diverged())
        attempt["learning_rate_after"] = effective_rate(trainer)
        self.attempts.append(attempt)
        self._progress, self._recovered, self._snapshot_step = False, True, trainer.global_step
        text = f"{tell_attempt(attempt)} (recovery {len(self.attempts)} of {self.max_attempts})"
        publish(trainer, "rollback", text, attempt=len(self.attempts), **attempt)
        return True

    def _mend_checkpoints(self, trainer: Trainer) -> None:
        """Leave no checkpoint of the way that was just left."""
        self._recovered = False
        forget_nonfinite_scores(trainer)
        rewrite_latest(trainer)

    def _after_validation(self, trainer: Trainer) -> None:
        if self._shield.lower():  # EarlyStopping and ModelCheckpoint have seen the metric that was dealt with
            forget_nonfinite_scores(trainer)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "rate": self.rate.state_dict(),
            "watch": self.watch.state_dict(),
            "attempts": list(self.attempts),
            "snapshot_step": self._snapshot_step,
            "progress": self._progress,
            "since_file": self.file.since,
        }
        return state | ({"snapshots": self.snapshots.state_dict()} if self.save_snapshots else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._take_state(state_dict)
        self._resumed = True

    def _take_state(self, state: dict[str, Any]) -> None:
        self.rate.load_state_dict(state.get("rate", {}))
        self.watch.load_state_dict(state.get("watch", {}))
        self.snapshots.load_state_dict(state.get("snapshots", {}))
        self.attempts: list[dict[str, Any]] = list(state.get("attempts", []))
        self._snapshot_step = state.get("snapshot_step", 0)
        self._progress = state.get("progress", True)  # a snapshot was confirmed since the last attempt
        self.file.since = state.get("since_file", 0)
