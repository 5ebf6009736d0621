"""Return to the last good state when training diverges, and continue at a lower learning rate."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.callbacks.recovery.batch_verdict import judge_batch
from vestim_pl.callbacks.recovery.last_good_file import LastGoodFile
from vestim_pl.callbacks.recovery.loss_spike import LossSpike
from vestim_pl.callbacks.recovery.loss_trend import LossTrend
from vestim_pl.callbacks.recovery.loss_watch import LossWatch
from vestim_pl.callbacks.recovery.recovery_factor import RecoveryFactor
from vestim_pl.callbacks.recovery.rollbacks import Rollbacks
from vestim_pl.callbacks.recovery.validation_trend import ValidationTrend
from vestim_pl.lightning_support.callback_order import (
    EARLY_STOPPING,
    WEIGHT_AVERAGING,
    parameter_norm_before,
    require_before,
)
from vestim_pl.lightning_support.checkpoint_finiteness import (
    nonfinite_entries,
    refresh_checkpoint,
    remove_nonfinite_scores,
    rewrite_latest,
)
from vestim_pl.lightning_support.learning_rate import LearningRateFactors
from vestim_pl.lightning_support.monitored_metrics import nonfinite_metrics
from vestim_pl.lightning_support.pauses import MetricPause
from vestim_pl.lightning_support.rank_agreement import log_agreed
from vestim_pl.lightning_support.training_snapshot import refuse_sharded_weights, trained_parameters
from vestim_pl.lightning_support.whole_checkpoint_io import keep_checkpoints_whole

__all__ = ["DivergenceRecovery"]


class DivergenceRecovery(Callback):
    """Restores the last good state when training diverges, and continues at a lower learning rate.

    A divergence is any of these: non-finite parameters, optimizer state or buffers; a loss that jumps and stays high
    (`LossSpike`) or settles well above its best (`LossTrend`); a metric of EarlyStopping or ModelCheckpoint that is
    non-finite or stays well above its best (`ValidationTrend`); a call of `recover_from` by a guard.

    **Snapshots.** A snapshot holds parameters, buffers, optimizer and scheduler states, gradient scaler, random states,
    and what the module adds to a checkpoint, such as a carried state. One is taken every ``snapshot_every`` steps and,
    without validation, at the end of every epoch, if all of it is finite (apart from buffers that never were, such as
    masks). It becomes usable once the next loss with its weights was good. If training diverges again right after a
    rollback, the snapshot before is used, but not the untrained network unless the newest snapshot has clearly worse
    losses. If loss or validation error have been far above their best for long, the snapshot of the best one is used.
    Snapshots of another structure are dropped.

    **What goes back.** Schedules, warmup and plateau factors go back with the weights, but never lift the learning rate
    above the reduced one (`RecoveryFactor`). The patience of EarlyStopping is reset. Steps, epochs, best scores, the
    position in the data and the random state continue, because the same batches would lead to the same divergence.

    **Checkpoints.** A checkpoint that would hold non-finite numbers triggers a recovery and gets the good state. After
    a recovery, ``last.ckpt`` and the single file of a ModelCheckpoint without a monitor are overwritten, unless they
    are older than the restored state, and files with a non-finite score are removed.

    Place this callback after guards and other callbacks, so that what it saves includes their work. EarlyStopping and
    WeightAveraging must come after it. Events: ``rollback``, ``recovery`` (the rate is raised again),
    ``checkpoint_removed``.

    =========================== ====================================================================================
    logged key (once an epoch)  meaning
    =========================== ====================================================================================
    ``recovery/attempts``       recoveries so far
    ``recovery/factor``         factor on the learning rate
    =========================== ====================================================================================

    Args:
        learning_rate_factor: Factor on the learning rate at each recovery; also limits later rates to this share of the
            rate at which training diverged.
        max_attempts: Recoveries in one training; the next divergence stops it.
        snapshot_every: Optimizer steps between snapshots; each costs a copy of the state; up to five are kept.
        raise_after: Steps without divergence before the rate is raised, at most to half the rate of a second
            divergence; None never raises it.
        raise_by: Factor of each raise.
        spike_ratio: Least multiple of the running median that is a spike; None detects no spikes.
        spike_deviations: Least number of standard deviations that is a spike.
        spike_window: Number of recent losses that a spike is compared with.
        spike_patience: Steps in a row for which a spike has to last.
        trend_ratio: Multiple of the loss's best level at which a period has diverged; None compares no periods.
        trend_window: Least number of batches in a period.
        whole_epochs: For batches that are not shuffled, such as streams: periods are whole epochs, and a spike is
            compared with the highest loss of this epoch and the last.
        validation_ratio: Multiple of the best validation metric from which a value is bad; None compares none.
        validation_patience: Bad validations since the best one that are a divergence.
        checkpoint_every: Snapshots between two versions of ``last_good.ckpt``; None writes none.
        dirpath: Folder of ``last_good.ckpt``; by default that of the first ModelCheckpoint, or ``checkpoints``.
        monitor: Validation metric to watch; by default those of EarlyStopping and ModelCheckpoint.
        restore_random_state: Restore the generators of Python, numpy and torch (CPU and CUDA) too.
        save_snapshots: Save snapshots in checkpoints, which can grow sixfold, so that a resumed run recovers alike.

    Raises:
        ConfigurationError: If an argument is out of range, or an EarlyStopping or WeightAveraging stands before it.
        DivergenceError: When all attempts are used up, with a list of them, after the last good state was restored, so
            that a checkpoint saved on the exception is good; or when there is no state to restore.

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
        trend_ratio: float | None = 3.0,
        trend_window: int = 200,
        whole_epochs: bool = False,
        validation_ratio: float | None = 2.0,
        validation_patience: int = 3,
        checkpoint_every: int | None = None,
        dirpath: str | None = None,
        monitor: str | None = None,
        restore_random_state: bool = False,
        save_snapshots: bool = True,
    ) -> None:
        self.rate = RecoveryFactor(learning_rate_factor, raise_after, raise_by)
        spike = LossSpike(spike_ratio, spike_deviations, spike_window, spike_patience, whole_epochs)
        validation = ValidationTrend(validation_ratio, validation_patience)
        self.watch = LossWatch(spike, LossTrend(trend_ratio, trend_window, whole_epochs), validation)
        self.rollbacks = Rollbacks(self.rate, self.watch, max_attempts, snapshot_every, restore_random_state)
        self.snapshots = self.rollbacks.snapshots
        self.file, self.monitor, self.save_snapshots = LastGoodFile(checkpoint_every, dirpath), monitor, save_snapshots
        self._metrics, self._last_step = MetricPause(), 0
        self._ended = self._recovered = self._resumed = False

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """The recoveries of this training: cause, steps and learning rates."""
        return self.rollbacks.attempts

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        require_before(trainer, self, EARLY_STOPPING, WEIGHT_AVERAGING)
        refuse_sharded_weights(trainer, "DivergenceRecovery")
        keep_checkpoints_whole(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._resumed:  # a new training, maybe the second with this callback
            self.load_state_dict({})
            self.watch.trend.untrained = trainer.global_step == 0
        self.file.start(trainer)
        self._ended = self._recovered = self._resumed = False
        self._last_step = trainer.global_step
        self.rollbacks.start(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._ended = False
        self._after_validation(trainer)
        if batch_idx == 0:
            self.rollbacks.begin_epoch(trainer, pl_module)
        self.rollbacks.limit_rate(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        norm = parameter_norm_before(trainer, self)
        # A guard that stands before this callback may have recovered already in this batch.
        reason, good, non_finite = (
            ("", False, False) if self._recovered else judge_batch(trainer, pl_module, outputs, self.watch, norm)
        )
        if trainer.is_last_batch:
            reason = self.watch.end_epoch() or reason
        if self.rollbacks.observe(trainer, good):
            self.file.confirm(trainer)
        if good and not reason and trainer.global_step != self._last_step:
            reason = self._quiet_step(trainer, pl_module)
            non_finite = bool(reason)
        if reason:
            where = f"epoch {trainer.current_epoch}, batch {batch_idx}"
            self._recover(trainer, pl_module, f"{where}: {reason}", non_finite)
        if self._recovered:
            self._fix_checkpoints(trainer)
        self._last_step = trainer.global_step
        self._ended = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        bad = nonfinite_metrics(trainer, self.monitor)
        reason = ", ".join(f"{name} is {value}" for name, value in bad.items())
        reason = reason or self.rollbacks.observe_validation(trainer, pl_module, self.monitor)
        if reason:
            text = f"epoch {trainer.current_epoch}: the validation metric {reason}"
            self._recover(trainer, pl_module, text, non_finite=bool(bad))
            self._fix_checkpoints(trainer)
            self._metrics.start(trainer, bad)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rollbacks.end_epoch(trainer, pl_module)
        log_agreed(pl_module, {"recovery/attempts": float(len(self.attempts)), "recovery/factor": self.rate.value})

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.snapshots.newest is None or not (bad := nonfinite_entries(checkpoint, trained_parameters(pl_module))):
            return
        reason = f"epoch {trainer.current_epoch}: a checkpoint would hold non-finite numbers ({', '.join(bad)})"
        self._recover(trainer, pl_module, reason, non_finite=True)
        self._recovered = False
        refresh_checkpoint(trainer, checkpoint)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._after_validation(trainer)
        self.file.discard(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._after_validation(trainer)
        self.file.discard(trainer)
        LearningRateFactors.of(trainer).restore(trainer.optimizers)
        if self.rollbacks.gave_up:  # the good state was restored
            self._fix_checkpoints(trainer)

    def recover_from(self, trainer: Trainer, pl_module: LightningModule, reason: str) -> bool:
        """Restore the last good state and cut the learning rate; call it at the end of a batch and on all ranks.

        Args:
            trainer: The trainer.
            pl_module: The module in training.
            reason: What went wrong, where and when, without a full stop.

        Returns:
            Whether it recovered; False without a snapshot.

        """
        self.file.discard(trainer)
        recovered = self.rollbacks.go_back(trainer, pl_module, reason, non_finite=True)  # what guards look for
        self._recovered |= recovered
        if recovered and self._ended:
            self._fix_checkpoints(trainer)  # a guard after this callback asked, so no other hook of this batch follows
        return recovered

    def _quiet_step(self, trainer: Trainer, pl_module: LightningModule) -> str:
        """Raise the learning rate and take a snapshot when due; returns a reason to recover if the state is bad."""
        self.rollbacks.quiet_step(trainer)
        taken, reason = self.rollbacks.snapshot(trainer, pl_module)
        if taken and self.file.due:
            self.file.write(trainer)
        return reason

    def _recover(self, trainer: Trainer, pl_module: LightningModule, reason: str, non_finite: bool) -> None:
        """Roll back, or stop the training without a good state."""
        self.file.discard(trainer)
        if not self.rollbacks.go_back(trainer, pl_module, reason, non_finite):
            self.rollbacks.stop(trainer, reason)
        self._recovered = True

    def _fix_checkpoints(self, trainer: Trainer) -> None:
        """Remove or overwrite the checkpoints of the states that the rollback has undone."""
        self._recovered = False
        remove_nonfinite_scores(trainer)
        rewrite_latest(trainer, since=self.rollbacks.back_to_step)

    def _after_validation(self, trainer: Trainer) -> None:
        if self._metrics.stop():  # EarlyStopping and ModelCheckpoint have used the metric by now
            remove_nonfinite_scores(trainer)

    def state_dict(self) -> dict[str, Any]:
        state = self.rollbacks.state_dict() | {"since_file": self.file.since}
        return {key: value for key, value in state.items() if self.save_snapshots or key != "snapshots"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rollbacks.load_state_dict(state_dict)
        self.file.since = state_dict.get("since_file", 0)
        self._resumed = True
