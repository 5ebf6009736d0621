"""Detect a validation error that stays well above its best while the training loss does not fall."""

import math
from typing import Any

from vestim_pl.errors import ConfigurationError

__all__ = ["ValidationTrend"]


class ValidationTrend:
    r"""Follows a minimized validation metric and reports when it no longer comes near its best.

    A learning rate that is too high need not make the loss explode: the network learns while a warmup keeps the rate
    low, forgets again, and stays on a level that is neither a spike nor several times the best. Validation shows this,
    because it uses the same data each time, without dropout, and hardly varies in a healthy training. A value is bad if
    it is above ``ratio`` times the best so far. After ``patience`` bad values since that best, in a row or not,
    training has diverged.

    An overfitting estimator has the same validation errors, but its training loss keeps falling. A value is therefore
    bad only if the training loss since the last validation, as a geometric mean, is no lower than at the best one.
    Without positive losses to compare, as with manual optimization, no value is bad.

    Args:
        ratio: Multiple of the best value from which a value is bad; None detects none.
        patience: Number of bad values since the best.

    Raises:
        ConfigurationError: If an argument is out of range.

    Example::

        >>> trend = ValidationTrend(ratio=2.0, patience=2)
        >>> reasons = []
        >>> for loss, value in [(1.0, 40.0), (3.0, 90.0), (3.0, 60.0), (2.0, 130.0)]:
        ...     trend.add_loss(loss)
        ...     reasons.append(trend.observe("val_rmse", value))
        >>> reasons[-1]
        'val_rmse is 130, above 2 times its best of 40 for the 2nd time since, and the training loss is no lower...'

    """

    best: float
    bad: int
    improved: bool  # whether the latest value is the best so far
    _level: float  # of the training loss, at the best value
    _sum: float
    _count: int

    def __init__(self, ratio: float | None, patience: int) -> None:
        if (ratio is not None and ratio <= 1) or patience < 1:
            raise ConfigurationError(
                f"validation_ratio={ratio}, validation_patience={patience}: need a ratio above 1 (2 is usual, null"
                " switches it off) and a patience of 1 or more"
            )
        self.ratio, self.patience = ratio, patience
        self.load_state_dict({})

    @property
    def diverged(self) -> bool:
        return self.bad >= self.patience

    def add_loss(self, loss: float) -> None:
        if 0 < loss < math.inf:
            self._sum += math.log(loss)
            self._count += 1

    def observe(self, name: str, value: float) -> str:
        """Add a finite value of the metric; returns the reason if training has diverged."""
        level = math.exp(self._sum / self._count) if self._count else -math.inf
        self._sum, self._count = 0.0, 0
        self.improved = value < self.best
        if self.improved:
            self.best, self.bad, self._level = value, 0, level
        elif self.ratio is not None and value > self.ratio * self.best > 0 and level >= self._level > 0:
            self.bad += 1
        else:
            return ""
        if not self.diverged:
            return ""
        return (
            f"{name} is {value:.4g}, above {self.ratio:g} times its best of {self.best:.4g} for the"
            f" {_ordinal(self.bad)} time since, and the training loss is no lower than then"
        )

    def go_back(self, state: dict[str, Any]) -> None:
        """Restore the best value of ``state`` after a return to the weights with which it was saved."""
        self.load_state_dict({"best": state.get("best", math.inf), "level": state.get("level", 0.0)})

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "bad": self.bad, "level": self._level, "sum": self._sum, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state.get("best", math.inf)
        self.bad = state.get("bad", 0)
        self._level = state.get("level", 0.0)
        self._sum = state.get("sum", 0.0)
        self._count = state.get("count", 0)
        self.improved = False


def _ordinal(number: int) -> str:
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number if number < 20 else number % 10, 'th') }"
