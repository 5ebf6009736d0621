"""Non-finite validation metrics, and keeping EarlyStopping from answering them a second time."""

import math
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from vestim_pl.functional.errors import ConfigurationError

__all__ = ["EarlyStoppingShield", "nonfinite_metrics", "require_before_early_stopping", "smallest_wanted"]


def nonfinite_metrics(trainer: Trainer, monitor: str | None) -> dict[str, float]:
    """Validation metrics that are not finite: the one named, or all that a callback decides by.

    Args:
        trainer: Trainer at the end of a validation.
        monitor: Name of a metric; if None, those that EarlyStopping and ModelCheckpoint callbacks monitor.

    """
    deciding: list[Any] = [*trainer.early_stopping_callbacks, *trainer.checkpoint_callbacks]
    names = {monitor} if monitor else {getattr(callback, "monitor", None) for callback in deciding}
    found = {name: float(trainer.callback_metrics[name]) for name in names if name in trainer.callback_metrics}
    return {str(name): found[name] for name in sorted(found, key=str) if not math.isfinite(found[name])}


def smallest_wanted(trainer: Trainer, monitor: str | None) -> tuple[str, float]:
    """The validation metric that training is judged by, where a small one is wanted: its name and mean over the ranks.

    Args:
        trainer: Trainer at the end of a validation.
        monitor: Name of the metric; if None, the first that an EarlyStopping or a ModelCheckpoint wants small.

    Returns:
        An empty name and NaN where there is none.

    """
    deciding: list[Any] = [*trainer.early_stopping_callbacks, *trainer.checkpoint_callbacks]
    unwanted = {callback.monitor for callback in deciding if getattr(callback, "mode", "min") == "max"}
    names = [monitor] if monitor else [getattr(callback, "monitor", None) for callback in deciding]
    found = [name for name in names if name in trainer.callback_metrics and name not in unwanted]
    if not found:
        return "", math.nan
    value = trainer.callback_metrics[found[0]].detach().float().squeeze()
    return found[0], float(trainer.strategy.reduce(value, reduce_op="mean") if trainer.world_size > 1 else value)


def require_before_early_stopping(trainer: Trainer, callback: Callback) -> None:
    """Refuse an EarlyStopping that would stop the run on the very metric which the callback recovers from.

    Raises:
        ConfigurationError: If one stands before the callback.

    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(other, EarlyStopping) for other in callbacks[: callbacks.index(callback)]):
        name = type(callback).__name__
        raise ConfigurationError(
            f"{name}: an EarlyStopping stands before it and would stop the run on the non-finite metric that it"
            f" recovers from; put {name} before EarlyStopping in callbacks"
        )


class EarlyStoppingShield:
    """Lets a non-finite metric that has been dealt with cost EarlyStopping's patience, but not the run.

    Example::

        >>> stopper = EarlyStopping("val_loss")
        >>> shield = EarlyStoppingShield()
        >>> shield.raise_over([stopper], ["val_loss"])
        >>> stopper.check_finite
        False
        >>> shield.lower()
        True
        >>> stopper.check_finite
        True

    """

    def __init__(self) -> None:
        self._shielded: list[EarlyStopping] = []
        self._raised = False

    def raise_over(self, stoppers: list[EarlyStopping], metrics: list[str]) -> None:
        """Suspend the check for finite values in those that monitor one of the metrics."""
        self._raised = True
        for stopper in stoppers:
            if stopper.check_finite and stopper.monitor in metrics:
                stopper.check_finite = False
                self._shielded.append(stopper)

    def lower(self) -> bool:
        """Take the check up again; returns whether the shield was up."""
        raised, self._raised = self._raised, False
        for stopper in self._shielded:
            stopper.check_finite = True
        self._shielded.clear()
        return raised
