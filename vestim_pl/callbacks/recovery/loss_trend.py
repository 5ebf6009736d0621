"""Has the loss settled far above the best that it has been?"""

import math
from typing import Any

from vestim_pl.errors import ConfigurationError

__all__ = ["LossTrend"]

_START = 10  # losses from which the level of the untrained network is taken


class LossTrend:
    r"""Follows the loss period by period, and tells when one lies far above the best.

    A run can diverge without a spike: the loss climbs slowly, or jumps and stays, until the recent losses that a spike
    is judged by are bad too. So the level of a period, the geometric mean of its losses, is compared with the lowest
    level so far,

    .. math:: \exp\Bigl(\tfrac{1}{N} \sum_{i=1}^{N} \ln x_i\Bigr) > r \cdot \min_j \mathrm{level}_j

    The geometric mean is robust: one loss a thousand times too large moves the mean of 200 by 3.5 %. Before the first
    period, the level of the first ten losses of an untrained network stands in. A period is ``window`` steps or, with
    ``whole_epochs``, the least number of whole epochs that have as many: a stream's loss follows the stretch that its
    lanes are in, and only whole epochs hold the same stretches.

    Levels of healthy runs, highest over lowest so far, in periods of 200 steps: 1.1 in ``preset=fast`` on the demo
    data (249 epochs), 2.0 on LG HG2 (56 epochs; 1.7 in periods of whole epochs), 1.1 with small batches (8 windows,
    Adam at 3e-3, 3203 steps). Shorter periods are not as steady: of 50 steps, 4.0. Hence 3 times in 200 steps by
    default, which for a squared error is an RMSE 1.7 times the best.

    What it cannot see: a network that dies on a level less than ``ratio`` above its best, as one does that has learned
    next to nothing before. Losses below zero have no ratio: from the first one on, the test is off. Zeros do not count.

    Args:
        ratio: Multiple of the best level that is a divergence; None looks for none.
        window: Least number of steps in a period.
        whole_epochs: Whether periods are whole epochs.

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
    untrained: bool  # whether the first losses are those of an untrained network, harder than any stretch
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
        """Level of the first losses of an untrained network; -infinity where it is not known."""
        return self._start if math.isfinite(self._start) and not self._signed else -math.inf

    @property
    def limit(self) -> float:
        """Level above which a period has diverged; infinite where nothing is known yet."""
        return math.inf if self.ratio is None or self._signed else self.ratio * min(self._start, self.best)

    @property
    def astray(self) -> bool:
        """Whether the running period, a quarter or more of it, lies above the limit."""
        return self._count >= self.window / 4 and self._level() > self.limit

    def observe(self, loss: float) -> str:
        """Take the loss of a step; returns the reason where a period ends far above the best."""
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
        """Note that an epoch has ended; returns the reason where its period lies far above the best."""
        if not self.whole_epochs:
            return ""
        if not self._whole:  # it began in the midst of the epoch
            self._sum, self._count, self._whole = 0.0, 0, True
        return "" if self._count < self.window else self._end()

    def go_back(self, state: dict[str, Any]) -> None:
        """Begin a period anew, after a return to the weights with which ``state`` was saved.

        The best level stays if those weights are from its period or later, and else is what it was with them: what was
        reached on a way that was left is no measure for the way from there.
        """
        since = state.get("periods", 0), state.get("count", 0) >= self.window / 4
        if since < (self._best_period, True):
            self.best, self._best_period = state.get("best", math.inf), state.get("best_period", 0)
        self.periods += 1  # never a number for two periods: snapshots of both may be left
        self._sum, self._count, self._whole = 0.0, 0, False

    def _level(self) -> float:
        return math.exp(self._sum / self._count)

    def _end(self) -> str:
        level, steps, limit = self._level(), self._count, self.limit
        if level > limit:  # astray until somebody goes back
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
        """Plain numbers."""
        return {
            "untrained": self.untrained, "start": self._start, "best": self.best, "best_period": self._best_period,
            "periods": self.periods, "sum": self._sum, "count": self._count, "whole": self._whole,
            "signed": self._signed,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take numbers back; what is missing starts anew."""
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
