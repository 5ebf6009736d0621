"""All tests of the loss in one: a jump that stays, a level far above the best, and a validation that says so too."""

from typing import Any

from vestim_pl.callbacks.recovery.loss_spike import LossSpike
from vestim_pl.callbacks.recovery.loss_trend import LossTrend
from vestim_pl.callbacks.recovery.validation_trend import ValidationTrend

__all__ = ["LossWatch"]


class LossWatch:
    """Follows the loss of a training.

    Args:
        spike: Sees a jump within a few steps.
        trend: Sees what the jump left behind, or a slow climb.
        validation: Sees a level that is not as far above the best, where the validation error is bad as well.

    Example::

        >>> watch = LossWatch(LossSpike(5.0, 10.0, 100, 3), LossTrend(3.0, 200), ValidationTrend(2.0, 3))
        >>> watch.observe(1.0)
        (False, '')

    """

    def __init__(self, spike: LossSpike, trend: LossTrend, validation: ValidationTrend) -> None:
        self.spike, self.trend, self.validation = spike, trend, validation

    def observe(self, loss: float) -> tuple[bool, str]:
        """Take the loss of a step; returns whether it is suspect, and the reason where training has diverged."""
        suspect, jump = self.spike.observe(loss)
        level = self.trend.observe(loss)
        self.validation.take(loss)
        return suspect or self.trend.astray, jump or level

    def end_epoch(self) -> str:
        """Note that an epoch has ended; returns the reason where training has diverged."""
        self.spike.end_epoch()
        return self.trend.end_epoch()

    def go_back(self, state: dict[str, Any]) -> None:
        """Forget what the loss did since ``state`` was saved, with weights that are now back in place."""
        self.spike.load_state_dict(state.get("spike", {}))
        self.trend.go_back(state.get("trend", {}))
        self.validation.go_back(state.get("validation", {}))

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "spike": self.spike.state_dict(), "trend": self.trend.state_dict(),
            "validation": self.validation.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take numbers back; what is missing starts anew."""
        self.spike.load_state_dict(state.get("spike", {}))
        self.trend.load_state_dict(state.get("trend", {}))
        self.validation.load_state_dict(state.get("validation", {}))
