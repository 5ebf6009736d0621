"""The factor on the learning rate after recoveries: cut by each, raised again in quiet times."""

from typing import Any

from vestim_pl.functional.errors import ConfigurationError

__all__ = ["RecoveryFactor"]


class RecoveryFactor:
    """Factor that every divergence cuts and that quiet steps raise, up to a ceiling that learns.

    The first divergence may have been a bad batch, so the factor may come all the way back. One that comes after it
    says something about the rate: from then on the factor is raised to half of where it diverged and no further, so
    that the run does not climb into the same wall again and again.

    Args:
        cut: What a divergence multiplies the factor by, between 0 and 1.
        raise_after: Quiet steps before each raise; None never raises.
        raise_by: What a raise multiplies the factor by.

    Raises:
        ConfigurationError: If an argument is out of range.

    Example::

        >>> factor = RecoveryFactor(cut=0.1, raise_after=2, raise_by=4.0)
        >>> factor.diverged()
        0.1
        >>> factor.quiet_step(), factor.quiet_step(), factor.value
        (False, True, 0.4)

    """

    def __init__(self, cut: float, raise_after: int | None, raise_by: float) -> None:
        if not 0 < cut < 1:
            raise ConfigurationError(f"learning_rate_factor: {cut} is not between 0 and 1; 0.1 is usual")
        if (raise_after is not None and raise_after < 1) or raise_by <= 1:
            raise ConfigurationError(
                f"raise_after={raise_after}, raise_by={raise_by}: need a number of steps of 1 or more (or null) and a"
                " factor above 1"
            )
        self.cut, self.raise_after, self.raise_by = cut, raise_after, raise_by
        self.value = self.ceiling = 1.0
        self._cuts = self._quiet = 0

    def diverged(self) -> float:
        """Cut the factor; returns the new one."""
        if self._cuts:
            self.ceiling = min(self.ceiling, self.value / 2)
        self._cuts += 1
        self._quiet = 0
        self.value *= self.cut
        return self.value

    def quiet_step(self) -> bool:
        """Note a step without trouble; returns whether the factor was raised."""
        if self.raise_after is None or self.value >= self.ceiling:
            return False
        self._quiet += 1
        if self._quiet < self.raise_after:
            return False
        self._quiet = 0
        self.value = min(self.ceiling, self.value * self.raise_by)
        return True

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"value": self.value, "ceiling": self.ceiling, "cuts": self._cuts, "quiet": self._quiet}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take numbers back; what is missing starts anew."""
        self.value = state.get("value", 1.0)
        self.ceiling = state.get("ceiling", 1.0)
        self._cuts = state.get("cuts", 0)
        self._quiet = state.get("quiet", 0)
