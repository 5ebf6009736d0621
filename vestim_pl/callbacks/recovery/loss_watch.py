"""The detectors of a diverging loss, combined."""

from typing import Any

from vestim_pl.callbacks.recovery.loss_spike import LossSpike
from vestim_pl.callbacks.recovery.loss_trend import LossTrend
from vestim_pl.callbacks.recovery.validation_trend import ValidationTrend

__all__ = ["LossWatch"]


class LossWatch:
    """Feeds the loss of a training to three detectors.

    Args:
        spike: Detects a jump within a few steps.
        trend: Detects a level well above the best, after a jump or a slow climb.
        validation: Detects a smaller rise of the level if the validation error is bad as well.

    """

    def __init__(self, spike: LossSpike, trend: LossTrend, validation: ValidationTrend) -> None:
        self.spike, self.trend, self.validation = spike, trend, validation

    def observe(self, loss: float) -> tuple[bool, str]:
        """Add the loss of a step; returns whether it is suspect, and the reason if training has diverged."""
        suspect, jump = self.spike.observe(loss)
        level = self.trend.observe(loss)
        self.validation.add_loss(loss)
        return suspect or self.trend.diverging, jump or level

    def end_epoch(self) -> str:
        """Start the next epoch; returns the reason if training has diverged."""
        self.spike.end_epoch()
        return self.trend.end_epoch()

    def go_back(self, state: dict[str, Any]) -> None:
        """Forget the losses since ``state`` was saved, after a return to the weights of that time."""
        self.spike.load_state_dict(state.get("spike", {}))
        self.trend.go_back(state.get("trend", {}))
        self.validation.go_back(state.get("validation", {}))

    def state_dict(self) -> dict[str, Any]:
        return {
            "spike": self.spike.state_dict(), "trend": self.trend.state_dict(),
            "validation": self.validation.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.spike.load_state_dict(state.get("spike", {}))
        self.trend.load_state_dict(state.get("trend", {}))
        self.validation.load_state_dict(state.get("validation", {}))
