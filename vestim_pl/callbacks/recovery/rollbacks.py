"""Rollbacks of a training to an earlier good state, each with a cut of the learning rate, and their messages."""

import logging
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NoReturn

from lightning.pytorch import LightningModule, Trainer

from vestim_pl.callbacks.recovery.loss_watch import LossWatch
from vestim_pl.callbacks.recovery.recovery_factor import RecoveryFactor
from vestim_pl.callbacks.recovery.snapshot_store import SnapshotStore
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.learning_rate import LearningRateFactors
from vestim_pl.lightning_support.lightning_classes import early_stopping_callbacks
from vestim_pl.lightning_support.monitored_metrics import minimized_metric
from vestim_pl.lightning_support.protocols import BeforeRollback, callbacks_with
from vestim_pl.lightning_support.training_snapshot import (
    nonfinite_buffers,
    restore_snapshot,
    snapshot_fits,
    take_snapshot,
)

__all__ = ["Rollbacks", "attempts_used_up", "describe_attempt", "no_state_to_restore"]

_BAD = 2.0  # times the loss of the untrained network; healthy losses of small batches vary by less


class Rollbacks:
    """Takes snapshots, and moves weights, detectors and learning rate together in a rollback.

    Args:
        rate: The ``recovery`` factor on the learning rate, which this class sets in `LearningRateFactors`.
        watch: Detectors that follow the loss.
        max_attempts: Rollbacks in one training.
        snapshot_every: Optimizer steps between two snapshots.
        random_state: Whether a rollback restores the random number generators too.

    Attributes:
        gave_up: Whether training stops because no attempt is left; the last good state is restored then.
        back_to_step: Optimizer step of the state that the latest rollback restored.

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
        """Start or resume a training, and take a snapshot if there is no usable one and the state is finite."""
        factors = LearningRateFactors.of(trainer)
        factors.attach(trainer)
        factors.set("recovery", self.rate.value)  # limited before the first update, when all factors are known
        self.gave_up = False
        self.begin_epoch(trainer, pl_module)

    def begin_epoch(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the snapshots if they no longer fit, because layers were added or unfrozen."""
        if self.snapshots.newest is None or not snapshot_fits(trainer, pl_module, self.snapshots.newest):
            self.snapshots.load_state_dict({})
            if snapshot := take_snapshot(trainer, pl_module):
                self.snapshots.good = [snapshot | {"watch": self.watch.state_dict()}]
                self._snapshot_step = trainer.global_step

    def limit_rate(self, trainer: Trainer) -> None:
        """Set the factor for the next update, lowered if the other factors would lift the rate above its limit."""
        factors = LearningRateFactors.of(trainer)
        if math.isfinite(self.rate.limit):  # after a divergence
            self.rate.hold(factors.scheduled(trainer.optimizers[0])[0] * factors.product_without("recovery"))
        factors.set("recovery", self.rate.value)

    def observe(self, trainer: Trainer, good: bool) -> bool:
        """Note whether a batch was good; returns whether it confirmed the pending snapshot."""
        if self.watch.trend.improved:
            self.snapshots.mark_best(since=trainer.global_step - self.watch.trend.window // 4)
        confirmed = good and self.snapshots.confirm()
        self._progress |= confirmed
        return confirmed

    def observe_validation(self, trainer: Trainer, pl_module: LightningModule, monitor: str | None) -> str:
        """Note the validation metric and keep a snapshot of the best one; returns the reason if training diverged."""
        name, value = minimized_metric(trainer, monitor)
        if not math.isfinite(value):
            return ""
        reason = self.watch.validation.observe(name, value)
        if self.watch.validation.improved and (snapshot := self._take(trainer, pl_module)):
            self.snapshots.validated = snapshot | {"watch": self.watch.state_dict()}
        return reason

    def quiet_step(self, trainer: Trainer) -> None:
        """Count a step without divergence and raise the learning rate when that is due."""
        if self.rate.quiet_step():
            self.limit_rate(trainer)
            text = (
                f"step {trainer.global_step}: no divergence for {self.rate.raise_after} steps; learning rate raised to"
                f" {_next_rate(trainer):.3g}"
            )
            publish(trainer, "recovery", text, level=logging.INFO, factor=self.rate.value)

    def snapshot(self, trainer: Trainer, pl_module: LightningModule) -> tuple[bool, str]:
        """Take a snapshot if one is due; returns whether it did, and the reason if the state is non-finite."""
        if trainer.global_step - self._snapshot_step < self.snapshot_every:
            return False, ""
        snapshot = self._take(trainer, pl_module)
        if snapshot is None:
            buffers = ", ".join(nonfinite_buffers(pl_module, self.snapshots.newest))
            return False, f"buffers {buffers} are not finite" if buffers else "the state of the optimizer is not finite"
        self._snapshot_step = trainer.global_step
        self.snapshots.offer(snapshot | {"watch": self.watch.state_dict()})
        return True, ""

    def end_epoch(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take a snapshot at the end of an epoch without validation.

        Without it, an early divergence would go back to the untrained network, the only state before the first snapshot
        is due.
        """
        if trainer.enable_validation or trainer.global_step == self._snapshot_step or self.watch.trend.diverging:
            return
        if snapshot := self._take(trainer, pl_module):
            self._snapshot_step = trainer.global_step
            self.snapshots.offer(snapshot | {"watch": self.watch.state_dict()})

    def go_back(self, trainer: Trainer, pl_module: LightningModule, reason: str, non_finite: bool) -> bool:
        """Restore the last good state and cut the learning rate; publishes a ``rollback``.

        Args:
            trainer: The trainer.
            pl_module: The module in training.
            reason: What went wrong, where and when, in few words.
            non_finite: Whether a value was non-finite, for the event.

        Returns:
            False if there never was a good state.

        Raises:
            DivergenceError: If no attempt is left, after the state was restored; or if no snapshot fits the module.

        """
        for callback in callbacks_with(trainer, BeforeRollback):
            callback.before_rollback(trainer, pl_module)
        rate = _latest_rate(trainer)
        if (newest := self.snapshots.newest) is None:
            return False
        self.snapshots.keep(lambda snapshot: snapshot_fits(trainer, pl_module, snapshot))
        best = self.snapshots.best if self.watch.trend.diverging else None
        best = self.snapshots.validated if self.watch.validation.diverged else best
        self.snapshots.step_back(to_older=not self._progress and not self._would_start_over(), to=best)
        snapshot = self.snapshots.newest
        if snapshot is None:
            raise DivergenceError(no_state_to_restore(self.attempts, reason, rate, newest["global_step"]))
        restore_snapshot(trainer, pl_module, snapshot, self.random_state)
        self.watch.go_back(snapshot.get("watch", {}))
        self.back_to_step = snapshot["global_step"]
        self.gave_up = len(self.attempts) >= self.max_attempts
        if self.gave_up:
            raise DivergenceError(attempts_used_up(self.attempts, reason, rate))
        self.rate.diverged(rate)
        self.limit_rate(trainer)
        attempt = {
            "cause": reason, "step": trainer.global_step, "back_to_step": snapshot["global_step"],
            "learning_rate_before": rate, "learning_rate_after": _next_rate(trainer),
        }  # fmt: skip
        self.attempts.append(attempt)
        for stopper in early_stopping_callbacks(trainer):  # its patience was used up by what the rollback undid
            stopper.wait_count = 0
        self._progress, self._snapshot_step = False, trainer.global_step
        text = f"{describe_attempt(attempt)} (recovery {len(self.attempts)} of {self.max_attempts})"
        publish(trainer, "rollback", text, attempt=len(self.attempts), non_finite=non_finite, **attempt)
        return True

    def _would_start_over(self) -> bool:
        """Whether the older snapshot is the untrained network while the newest one has no worse losses than that.

        The older snapshot is for the case that the newest one itself is bad. If its losses do not show that, a smaller
        learning rate from there keeps what was learned.
        """
        losses = (self.snapshots.newest or {}).get("watch", {}).get("spike", {}).get("losses", [])
        oldest_is_start = bool(self.snapshots.good) and self.snapshots.good[0]["global_step"] == 0
        return oldest_is_start and bool(losses) and median(losses) < _BAD * self.watch.trend.start

    def stop(self, trainer: Trainer, reason: str) -> NoReturn:
        """End a training that diverged and never had a good state.

        Raises:
            DivergenceError: With a suggestion.

        """
        raise DivergenceError(no_state_to_restore(self.attempts, reason, _latest_rate(trainer), None))

    def _take(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any] | None:
        return take_snapshot(trainer, pl_module, before=self.snapshots.newest)

    def state_dict(self) -> dict[str, Any]:
        return {
            "rate": self.rate.state_dict(), "watch": self.watch.state_dict(), "attempts": list(self.attempts),
            "snapshot_step": self._snapshot_step, "progress": self._progress, "snapshots": self.snapshots.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rate.load_state_dict(state.get("rate", {}))
        self.watch.load_state_dict(state.get("watch", {}))
        self.snapshots.load_state_dict(state.get("snapshots", {}))
        self.attempts = list(state.get("attempts", []))
        self._snapshot_step = state.get("snapshot_step", 0)
        self._progress = state.get("progress", True)


def _latest_rate(trainer: Trainer) -> float:
    """Learning rate of the first parameter group in the latest update."""
    return LearningRateFactors.of(trainer).used(trainer.optimizers[0])[0]


def _next_rate(trainer: Trainer) -> float:
    """Learning rate of the first parameter group in the next update."""
    return LearningRateFactors.of(trainer).effective(trainer.optimizers[0])[0]


def describe_attempt(attempt: Mapping[str, Any]) -> str:
    """Describe one recovery in a line.

    Args:
        attempt: ``cause``, ``step``, ``back_to_step``, ``learning_rate_before`` and ``learning_rate_after``.

    Example::

        >>> describe_attempt({"cause": "epoch 0, batch 7: the loss is nan", "step": 8, "back_to_step": 5,
        ...     "learning_rate_before": 0.1, "learning_rate_after": 0.01})
        'epoch 0, batch 7: the loss is nan; at step 8 went back to step 5, learning rate 0.1 -> 0.01'

    """
    return (
        f"{attempt['cause']}; at step {attempt['step']} went back to step {attempt['back_to_step']}, learning rate"
        f" {attempt['learning_rate_before']:.3g} -> {attempt['learning_rate_after']:.3g}"
    )


def attempts_used_up(attempts: Sequence[Mapping[str, Any]], reason: str, learning_rate: float) -> str:
    """Write the error of a training that diverged once more after its last recovery.

    Args:
        attempts: The recoveries, as for `describe_attempt`.
        reason: The divergence that ends the training.
        learning_rate: Learning rate of the latest update.

    Example::

        >>> attempts_used_up([], "epoch 0, batch 7: the loss is nan", 0.1)[:60]
        'training diverged and all 0 recoveries are used up: epoch 0,'

    """
    return (
        f"training diverged and all {len(attempts)} recoveries are used up:"
        f" {_history(attempts, reason, learning_rate)}. The last good state is restored. Lower the learning rate, raise"
        " max_attempts, or check the rows that the events name"
    )


def no_state_to_restore(
    attempts: Sequence[Mapping[str, Any]], reason: str, learning_rate: float, snapshot_step: int | None
) -> str:
    """Write the error of a training that diverged without a state to go back to.

    Args:
        attempts: The recoveries, as for `describe_attempt`.
        reason: The divergence that ends the training.
        learning_rate: Learning rate of the latest update.
        snapshot_step: Step of the last good state, which no longer fits the module; None if there never was one.

    Example::

        >>> no_state_to_restore([], "epoch 0, batch 0: the loss is nan", 0.1, None)[:63]
        'training diverged with no state to go back to: epoch 0, batch 0'

    """
    if snapshot_step is None:
        advice = "It was non-finite from the start: check the initialization, or resume from an earlier checkpoint"
    else:
        advice = (
            f"Layers, optimizers or schedulers have changed since the last snapshot, of step {snapshot_step}: change"
            " them at the start of an epoch, where a new snapshot is taken"
        )
    return f"training diverged with no state to go back to: {_history(attempts, reason, learning_rate)}. {advice}"


def _history(attempts: Sequence[Mapping[str, Any]], reason: str, learning_rate: float) -> str:
    lines = [f"({number}) {describe_attempt(attempt)}" for number, attempt in enumerate(attempts, start=1)]
    lines.append(f"{'then ' if lines else ''}{reason}, at learning rate {learning_rate:.3g}")
    return "; ".join(lines)
