"""The factor on the learning rate that each recovery cuts and that steps without divergence raise again."""

import math
from typing import Any

from vestim_pl.errors import ConfigurationError

__all__ = ["RecoveryFactor"]


class RecoveryFactor:
    """Keeps the learning rate below the rate at which training diverged.

    The factor is one of several. A warmup or a rising schedule would undo its cut, so each cut also limits the learning
    rate itself, to ``cut`` times the rate of the update at which training diverged. If the other factors would lift the
    rate above the limit, this factor is lowered and stays so; cuts of the other factors still take effect.

    The first divergence may have been a bad batch, so factor and limit may return to where they were. A second one
    shows that the rate was too high: from then on factor and limit rise to at most half of where it diverged, so that
    the run does not diverge at the same rate again and again.

    Args:
        cut: Factor of a cut, between 0 and 1.
        raise_after: Steps without divergence before each raise; None never raises.
        raise_by: Factor of a raise.

    Raises:
        ConfigurationError: If an argument is out of range.

    Example::

        >>> factor = RecoveryFactor(cut=0.1, raise_after=2, raise_by=4.0)
        >>> factor.diverged(rate=0.02)
        >>> factor.hold(0.02), factor.hold(0.08)  # what the rate would be without this factor
        (0.1, 0.025)
        >>> factor.quiet_step(), factor.quiet_step(), factor.hold(0.08)
        (False, True, 0.1)

    """

    value: float
    ceiling: float
    limit: float
    rate_ceiling: float
    _cuts: int
    _quiet: int

    def __init__(self, cut: float, raise_after: int | None, raise_by: float) -> None:
        if not 0 < cut < 1:
            raise ConfigurationError(f"learning_rate_factor: {cut} is not between 0 and 1; 0.1 is usual")
        if (raise_after is not None and raise_after < 1) or raise_by <= 1:
            raise ConfigurationError(
                f"raise_after={raise_after}, raise_by={raise_by}: need a number of steps of 1 or more (or null) and a"
                " factor above 1"
            )
        self.cut, self.raise_after, self.raise_by = cut, raise_after, raise_by
        self.load_state_dict({})

    def diverged(self, rate: float) -> None:
        """Cut the factor, and limit the rate to ``cut`` times that of the update that diverged."""
        if self._cuts:
            self.ceiling = min(self.ceiling, self.value / 2)
            self.rate_ceiling = min(self.rate_ceiling, rate / 2)
        self._cuts += 1
        self._quiet = 0
        self.value *= self.cut
        self.limit = rate * self.cut

    def hold(self, rate: float) -> float:
        """Return the factor for an update whose rate would be ``rate`` without it, lowered to keep the limit."""
        if rate * self.value > self.limit:
            self.value = self.limit / rate
        return self.value

    def quiet_step(self) -> bool:
        """Count a step without divergence; returns whether the factor was raised."""
        if self.raise_after is None or self.value >= self.ceiling or self.limit >= self.rate_ceiling:
            return False
        self._quiet += 1
        if self._quiet < self.raise_after:
            return False
        self._quiet = 0
        self.value = min(self.ceiling, self.value * self.raise_by)
        self.limit = min(self.rate_ceiling, self.limit * self.raise_by)
        return True

    def state_dict(self) -> dict[str, Any]:
        return {
            "value": self.value, "ceiling": self.ceiling, "limit": self.limit, "rate_ceiling": self.rate_ceiling,
            "cuts": self._cuts, "quiet": self._quiet,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state.get("value", 1.0)
        self.ceiling = state.get("ceiling", 1.0)
        self.limit = state.get("limit", math.inf)
        self.rate_ceiling = state.get("rate_ceiling", math.inf)
        self._cuts = state.get("cuts", 0)
        self._quiet = state.get("quiet", 0)
