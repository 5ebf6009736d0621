"""Detect a loss that has settled well above its best level."""

import math
from typing import Any

from vestim_pl.errors import ConfigurationError

__all__ = ["LossTrend"]

_START = 10  # losses that give the level of the untrained network


class LossTrend:
    r"""Follows the loss period by period and reports a period well above the best one.

    A run can diverge without a spike: the loss climbs slowly, or jumps and stays until the recent losses, with which a
    spike is compared, are bad too. Therefore the level of a period, the geometric mean of its losses, is compared with
    the lowest level so far,

    .. math:: \exp\Bigl(\tfrac{1}{N} \sum_{i=1}^{N} \ln x_i\Bigr) > r \cdot \min_j \mathrm{level}_j

    The geometric mean is robust: one loss a thousand times too large moves the mean of 200 by 3.5 %. Before the first
    period ends, the level of the first ten losses of an untrained network takes its place. A period is ``window`` steps
    or, with ``whole_epochs``, the least number of whole epochs with at least as many steps: the loss of a stream
    depends on the part of the recordings that its lanes are in, and only whole epochs cover the same parts.

    Levels of healthy runs, highest over lowest so far, in periods of 200 steps: 1.1 in ``preset=fast`` on the demo
    data (249 epochs), 2.0 on LG HG2 (56 epochs; 1.7 in periods of whole epochs), 1.1 with small batches (8 windows,
    Adam at 3e-3, 3203 steps). Periods of 50 steps vary more, up to 4.0. Hence the default of 3 times in 200
    steps, which for a squared error is an RMSE of 1.7 times the best.

    Not detected: a network that fails on a level less than ``ratio`` times its best, such as one that has hardly
    learned anything yet. Negative losses have no ratio, so the first one switches the detection off. Zeros are skipped.

    Args:
        ratio: Multiple of the best level that is a divergence; None detects none.
        window: Least number of steps in a period.
        whole_epochs: Make periods whole epochs.

    Raises:
        ConfigurationError: If an argument is out of range.

    Example::

        >>> trend = LossTrend(ratio=3.0, window=20)
        >>> reasons = [trend.observe(loss) for loss in [1.0] * 20 + [0.1] * 20 + [0.4] * 20]
        >>> reasons[-1]
        'the loss has a mean of 0.4 over 20 steps, above 3 times the best such mean of 0.1'

    """

    best: float
    improved: bool  # whether the latest step ended the best period so far
    periods: int
    untrained: bool  # whether the first losses are those of an untrained network
    _start: float
    _best_period: int
    _sum: float
    _count: int
    _whole: bool
    _signed: bool

    def __init__(self, ratio: float | None, window: int, whole_epochs: bool = False) -> None:
        if (ratio is not None and ratio <= 1) or window < _START:
            raise ConfigurationError(
                f"trend_ratio={ratio}, trend_window={window}: need a ratio above 1 (3 is usual, null switches it off)"
                f" and {_START} steps or more"
            )
        self.ratio, self.window, self.whole_epochs = ratio, window, whole_epochs
        self.load_state_dict({})

    @property
    def start(self) -> float:
        """Level of the first losses of an untrained network; -infinity if it is not known."""
        return self._start if math.isfinite(self._start) and not self._signed else -math.inf

    @property
    def limit(self) -> float:
        """Level above which a period has diverged; infinite before the first level is known."""
        return math.inf if self.ratio is None or self._signed else self.ratio * min(self._start, self.best)

    @property
    def diverging(self) -> bool:
        """Whether the current period is above the limit so far, with a quarter or more of its steps."""
        return self._count >= self.window / 4 and self._level() > self.limit

    def observe(self, loss: float) -> str:
        """Add the loss of a step; returns the reason if it ends a period well above the best."""
        self.improved = False
        if not math.isfinite(loss) or loss == 0:
            return ""
        self._signed |= loss < 0
        if self._signed:
            return ""
        self._sum += math.log(loss)
        self._count += 1
        if self.untrained and math.isinf(self._start) and self._count == _START:
            self._start = self._level()
        return "" if self.whole_epochs or self._count < self.window else self._end()

    def end_epoch(self) -> str:
        """Start the next epoch; returns the reason if a period has ended well above the best."""
        if not self.whole_epochs:
            return ""
        if not self._whole:  # the period began within the epoch
            self._sum, self._count, self._whole = 0.0, 0, True
        return "" if self._count < self.window else self._end()

    def go_back(self, state: dict[str, Any]) -> None:
        """Start a new period after a return to the weights with which ``state`` was saved.

        The best level stays if those weights are from its period or later. Otherwise it becomes the best level of
        ``state``, because the rollback has undone what was reached since.
        """
        since = state.get("periods", 0), state.get("count", 0) >= self.window / 4
        if since < (self._best_period, True):
            self.best, self._best_period = state.get("best", math.inf), state.get("best_period", 0)
        self.periods += 1  # a new number, because snapshots of both periods may exist
        self._sum, self._count, self._whole = 0.0, 0, False

    def _level(self) -> float:
        return math.exp(self._sum / self._count)

    def _end(self) -> str:
        level, steps, limit = self._level(), self._count, self.limit
        if level > limit:  # the period continues until a rollback
            best = min(self._start, self.best)
            return (
                f"the loss has a mean of {level:.4g} over {steps} steps, above {self.ratio:g} times the best such mean"
                f" of {best:.4g}"
            )
        self.improved = level < self.best
        if self.improved:
            self.best, self._best_period = level, self.periods
        self.periods += 1
        self._sum, self._count = 0.0, 0
        return ""

    def state_dict(self) -> dict[str, Any]:
        return {
            "untrained": self.untrained, "start": self._start, "best": self.best, "best_period": self._best_period,
            "periods": self.periods, "sum": self._sum, "count": self._count, "whole": self._whole,
            "signed": self._signed,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.untrained = state.get("untrained", True)
        self._start = state.get("start", math.inf)
        self.best = state.get("best", math.inf)
        self._best_period = state.get("best_period", 0)
        self.periods = state.get("periods", 0)
        self._sum = state.get("sum", 0.0)
        self._count = state.get("count", 0)
        self._whole = state.get("whole", True)
        self._signed = state.get("signed", False)
        self.improved = False
