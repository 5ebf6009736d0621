"""Non-finite validation metrics, and keeping EarlyStopping from answering them a second time."""

import math
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping

__all__ = ["EarlyStoppingShield", "nonfinite_metrics"]


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

    def raise_over(self, stoppers: list[EarlyStopping], metrics: list[str]) -> None:
        """Suspend the check for finite values in those that monitor one of the metrics."""
        for stopper in stoppers:
            if stopper.check_finite and stopper.monitor in metrics:
                stopper.check_finite = False
                self._shielded.append(stopper)

    def lower(self) -> bool:
        """Take the check up again; returns whether it was suspended anywhere."""
        shielded, self._shielded = self._shielded, []
        for stopper in shielded:
            stopper.check_finite = True
        return bool(shielded)
