"""The rollbacks of a training: what they go back to, what they cost in learning rate, how many there were."""

import logging
import math
from statistics import median
from typing import Any, NoReturn

from lightning.pytorch import LightningModule, Trainer

from vestim_pl.callbacks.recovery.loss_watch import LossWatch
from vestim_pl.callbacks.recovery.messages import effective_rate, tell_attempt, tell_story, tell_stuck
from vestim_pl.callbacks.recovery.recovery_factor import RecoveryFactor
from vestim_pl.callbacks.recovery.snapshot_store import SnapshotStore
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.learning_rate import LearningRateFactors
from vestim_pl.lightning_support.lightning_classes import early_stopping_callbacks
from vestim_pl.lightning_support.metric_pause import smallest_wanted
from vestim_pl.lightning_support.protocols import BeforeRollback, callbacks_with
from vestim_pl.lightning_support.snapshot_fit import snapshot_fits
from vestim_pl.lightning_support.training_snapshot import poisoned_buffers, restore_snapshot, take_snapshot

__all__ = ["Rollbacks"]

_BAD = 2.0  # times the loss of the untrained network; healthy losses of small batches scatter by less


class Rollbacks:
    """Snapshots, the watch over the loss, and the factor on the learning rate, and how a rollback moves all three.

    Args:
        rate: Factor on the learning rate; this class sets it as ``recovery``
            (`LearningRateFactors`).
        watch: What follows the loss.
        max_attempts: Rollbacks in one training.
        snapshot_every: Optimizer steps between two snapshots.
        random_state: Whether a rollback puts the random number generators back too.

    Attributes:
        gave_up: Whether training stops because no attempt is left; the last good state is back in place then.
        back_to_step: Optimizer step of the state that the latest rollback put back.

    Raises:
        ConfigurationError: If a number is out of range.

    """

    attempts: list[dict[str, Any]]
    _snapshot_step: int
    _progress: bool  # whether a snapshot was confirmed since the last attempt

    def __init__(
        self, rate: RecoveryFactor, watch: LossWatch, max_attempts: int, snapshot_every: int, random_state: bool
    ) -> None:
        if max_attempts < 0 or snapshot_every < 1:
            raise ConfigurationError(
                f"max_attempts={max_attempts}, snapshot_every={snapshot_every}: need 0 attempts and 1 step, or more"
            )
        self.rate, self.watch, self.snapshots = rate, watch, SnapshotStore()
        self.max_attempts, self.snapshot_every, self.random_state = max_attempts, snapshot_every, random_state
        self.gave_up = False
        self.back_to_step = 0
        self.load_state_dict({})

    def start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a training, or go on with one: there is a snapshot from the first step on, if its state is finite."""
        factors = LearningRateFactors.of(trainer)
        factors.attach(trainer)
        factors.set("recovery", self.rate.value)  # held before the first update: others may set theirs after us yet
        self.gave_up = False
        self.begin_epoch(trainer, pl_module)

    def begin_epoch(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See to it that there is a snapshot that fits: layers may have been added, or their training begun."""
        if self.snapshots.newest is None or not snapshot_fits(trainer, pl_module, self.snapshots.newest):
            self.snapshots.load_state_dict({})
            if snapshot := take_snapshot(trainer, pl_module):
                self.snapshots.good = [snapshot | {"watch": self.watch.state_dict()}]
                self._snapshot_step = trainer.global_step

    def hold_rate(self, trainer: Trainer) -> None:
        """Set the factor for the next update, lower where the other factors would carry the rate above its limit."""
        factors = LearningRateFactors.of(trainer)
        if math.isfinite(self.rate.limit):  # after a divergence
            self.rate.hold(factors.scheduled(trainer.optimizers[0])[0] * factors.product_without("recovery"))
        factors.set("recovery", self.rate.value)

    def observe(self, trainer: Trainer, good: bool) -> bool:
        """Note how a batch went; returns whether the snapshot on probation counts from now on."""
        if self.watch.trend.improved:
            self.snapshots.mark_best(since=trainer.global_step - self.watch.trend.window // 4)
        confirmed = good and self.snapshots.confirm()
        self._progress |= confirmed
        return confirmed

    def observe_validation(self, trainer: Trainer, pl_module: LightningModule, monitor: str | None) -> str:
        """Note how a validation went, and keep its weights where it was the best; returns why it says astray, if so."""
        name, value = smallest_wanted(trainer, monitor)
        if not math.isfinite(value):
            return ""
        reason = self.watch.validation.observe(name, value)
        if self.watch.validation.improved and (snapshot := self._take(trainer, pl_module)):
            self.snapshots.validated = snapshot | {"watch": self.watch.state_dict()}
        return reason

    def quiet_step(self, trainer: Trainer) -> None:
        """Raise the learning rate where that is due."""
        if self.rate.quiet_step():
            self.hold_rate(trainer)
            text = f"step {trainer.global_step}: quiet again, learning rate now {effective_rate(trainer):.3g}"
            publish(trainer, "recovery", text, level=logging.INFO, factor=self.rate.value)

    def snapshot(self, trainer: Trainer, pl_module: LightningModule) -> tuple[bool, str]:
        """Take a snapshot where one is due; returns whether it did, and what is wrong where it could not."""
        if trainer.global_step - self._snapshot_step < self.snapshot_every:
            return False, ""
        snapshot = self._take(trainer, pl_module)
        if snapshot is None:
            buffers = ", ".join(poisoned_buffers(pl_module, self.snapshots.newest))
            return False, f"buffers {buffers} are not finite" if buffers else "the state of the optimizer is not finite"
        self._snapshot_step = trainer.global_step
        self.snapshots.offer(snapshot | {"watch": self.watch.state_dict()})
        return True, ""

    def end_epoch(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the state at the end of an epoch on probation where no validation judges it.

        Otherwise an early divergence would go back to the start: until the first snapshot is due, there is no other.
        """
        if trainer.enable_validation or trainer.global_step == self._snapshot_step or self.watch.trend.astray:
            return
        if snapshot := self._take(trainer, pl_module):
            self._snapshot_step = trainer.global_step
            self.snapshots.offer(snapshot | {"watch": self.watch.state_dict()})

    def go_back(self, trainer: Trainer, pl_module: LightningModule, reason: str) -> bool:
        """Put the last good state back and cut the learning rate; publishes a ``rollback``.

        Args:
            trainer: The trainer.
            pl_module: The module in training.
            reason: What went wrong, where and when, in few words.

        Returns:
            False where there never was a good state.

        Raises:
            DivergenceError: When no attempt is left, after the state was put back; or when no snapshot fits the module
                as it is now.

        """
        for callback in callbacks_with(trainer, BeforeRollback):
            callback.before_rollback(trainer, pl_module)
        rate = LearningRateFactors.of(trainer).used(trainer.optimizers[0])[0]
        if (newest := self.snapshots.newest) is None:
            return False
        self.snapshots.keep(lambda snapshot: snapshot_fits(trainer, pl_module, snapshot))
        best = self.snapshots.best if self.watch.trend.astray else None
        best = self.snapshots.validated if self.watch.validation.astray else best
        self.snapshots.step_back(to_older=not self._progress and not self._would_start_over(), to=best)
        snapshot = self.snapshots.newest
        if snapshot is None:
            raise DivergenceError(tell_stuck(self.attempts, reason, rate, newest["global_step"]))
        restore_snapshot(trainer, pl_module, snapshot, self.random_state)
        self.watch.go_back(snapshot.get("watch", {}))
        self.back_to_step = snapshot["global_step"]
        self.gave_up = len(self.attempts) >= self.max_attempts
        if self.gave_up:
            raise DivergenceError(tell_story(self.attempts, reason, rate))
        self.rate.diverged(rate)
        self.hold_rate(trainer)
        attempt = {
            "cause": reason, "step": trainer.global_step, "back_to_step": snapshot["global_step"],
            "learning_rate_before": rate, "learning_rate_after": effective_rate(trainer),
        }  # fmt: skip
        self.attempts.append(attempt)
        for stopper in early_stopping_callbacks(trainer):  # its patience was for the way that is left now
            stopper.wait_count = 0
        self._progress, self._snapshot_step = False, trainer.global_step
        text = f"{tell_attempt(attempt)} (recovery {len(self.attempts)} of {self.max_attempts})"
        publish(trainer, "rollback", text, attempt=len(self.attempts), **attempt)
        return True

    def _would_start_over(self) -> bool:
        """Whether the older snapshot is the untrained network, and the newest one is no worse than that by its losses.

        An older snapshot is for the case that the newest one itself is bad. Where its losses do not say so, a smaller
        learning rate from there loses nothing, and starting over would lose all that was learned.
        """
        losses = (self.snapshots.newest or {}).get("watch", {}).get("spike", {}).get("losses", [])
        oldest_is_start = bool(self.snapshots.good) and self.snapshots.good[0]["global_step"] == 0
        return oldest_is_start and bool(losses) and median(losses) < _BAD * self.watch.trend.start

    def stop(self, trainer: Trainer, reason: str) -> NoReturn:
        """End a training that diverged and never had a good state.

        Raises:
            DivergenceError: With the way out.

        """
        rate = LearningRateFactors.of(trainer).used(trainer.optimizers[0])[0]
        raise DivergenceError(tell_stuck(self.attempts, reason, rate, None))

    def _take(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any] | None:
        return take_snapshot(trainer, pl_module, before=self.snapshots.newest)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and texts, and the snapshots."""
        return {
            "rate": self.rate.state_dict(), "watch": self.watch.state_dict(), "attempts": list(self.attempts),
            "snapshot_step": self._snapshot_step, "progress": self._progress, "snapshots": self.snapshots.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back; what is missing starts anew."""
        self.rate.load_state_dict(state.get("rate", {}))
        self.watch.load_state_dict(state.get("watch", {}))
        self.snapshots.load_state_dict(state.get("snapshots", {}))
        self.attempts = list(state.get("attempts", []))
        self._snapshot_step = state.get("snapshot_step", 0)
        self._progress = state.get("progress", True)
