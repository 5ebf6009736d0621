"""Both tests of the loss in one: a jump that stays, and a level far above the best."""

from typing import Any

from vestim_pl.functional.loss_spike import LossSpike
from vestim_pl.functional.loss_trend import LossTrend

__all__ = ["LossWatch"]


class LossWatch:
    """Follows the loss of a training.

    Args:
        spike: Sees a jump within a few steps.
        trend: Sees what the jump left behind, or a slow climb.

    Example::

        >>> watch = LossWatch(LossSpike(5.0, 10.0, 100, 3), LossTrend(3.0, 200))
        >>> watch.observe(1.0)
        (False, '')

    """

    def __init__(self, spike: LossSpike, trend: LossTrend) -> None:
        self.spike, self.trend = spike, trend

    def observe(self, loss: float) -> tuple[bool, str]:
        """Take the loss of a step; returns whether it is suspect, and the reason where training has diverged."""
        suspect, jump = self.spike.observe(loss)
        level = self.trend.observe(loss)
        return suspect or self.trend.astray, jump or level

    def end_epoch(self) -> str:
        """Note that an epoch has ended; returns the reason where training has diverged."""
        self.spike.end_epoch()
        return self.trend.end_epoch()

    def go_back(self, state: dict[str, Any]) -> None:
        """Forget what the loss did since ``state`` was saved, with weights that are now back in place."""
        self.spike.load_state_dict(state.get("spike", {}))
        self.trend.go_back(state.get("trend", {}))

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"spike": self.spike.state_dict(), "trend": self.trend.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take numbers back; what is missing starts anew."""
        self.spike.load_state_dict(state.get("spike", {}))
        self.trend.load_state_dict(state.get("trend", {}))
