"""Detect a loss that jumps above its recent values and stays there."""

import math
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Any

from vestim_pl.errors import ConfigurationError

__all__ = ["LossSpike", "spike_threshold"]

_MAD_TO_SIGMA = 1.4826
_FULL_HISTORY = 10


def spike_threshold(losses: Sequence[float], ratio: float, deviations: float) -> float:
    r"""Compute the loss above which a step is suspect, from the losses of the steps before it.

    .. math:: \max(\tilde{x} + k \cdot 1.4826 \cdot \mathrm{MAD},\; r \cdot |\tilde{x}|) \cdot \max(1, \sqrt{10 / n})

    Median and median absolute deviation, scaled to the standard deviation of a normal distribution (Leys et al. 2013),
    do not follow the spike itself, as mean and variance would. A smooth loss has almost no deviation, so the ratio
    keeps small variations from counting as spikes. With fewer than ten losses the threshold is higher, because the
    first batch may have been an easy one.

    Args:
        losses: Finite losses of recent steps; not empty.
        ratio: Least multiple of the median, r.
        deviations: Least number of standard deviations above the median, k.

    Example::

        >>> spike_threshold([1.0, 1.1, 0.9, 1.0] * 3, ratio=5.0, deviations=10.0)
        5.0
        >>> round(spike_threshold([1.0], ratio=5.0, deviations=10.0), 1)
        15.8

    """
    middle = median(losses)
    spread = _MAD_TO_SIGMA * median(abs(loss - middle) for loss in losses)
    limit = max(middle + deviations * spread, ratio * abs(middle))
    return limit * max(1.0, math.sqrt(_FULL_HISTORY / len(losses)))


class LossSpike:
    """Distinguishes a single outlier from a jump of the loss that stays.

    A loss above the limit makes a step suspect, and ``patience`` suspect steps in a row are a spike. Suspect losses do
    not enter the history, because a slow explosion would then raise its own limit.

    With shuffled batches the limit is `spike_threshold` of the recent losses. The loss of a stream depends on the part
    of the recordings that its lanes are in, and ten times the median is normal there. With ``whole_epochs`` the limit
    is therefore ``ratio`` times the highest loss of this epoch and the one before, from the second epoch on.

    Args:
        ratio: Least multiple of the running median, or of the highest loss; None never suspects a finite loss.
        deviations: Least number of standard deviations above the running median.
        window: Number of recent losses kept.
        patience: Suspect steps in a row that make a spike.
        whole_epochs: Compare with the losses of whole epochs.

    Raises:
        ConfigurationError: If an argument is out of range.

    Example::

        >>> spike = LossSpike(ratio=5.0, deviations=10.0, window=100, patience=2)
        >>> for _ in range(20):
        ...     _ = spike.observe(1.0)
        >>> spike.observe(50.0)
        (True, '')
        >>> spike.observe(60.0)[1]
        'the loss is at 60 for 2 steps, above 5, from a median of 1'

    """

    def __init__(
        self, ratio: float | None, deviations: float, window: int, patience: int, whole_epochs: bool = False
    ) -> None:
        if ratio is not None and ratio <= 1:
            raise ConfigurationError(f"spike_ratio: {ratio} is not above 1; 5 is usual, null switches it off")
        if deviations < 0 or window < _FULL_HISTORY or patience < 1:
            raise ConfigurationError(
                f"spike_deviations={deviations}, spike_window={window}, spike_patience={patience}: need deviations of"
                f" 0 or more, a window of {_FULL_HISTORY} or more and a patience of 1 or more"
            )
        self.ratio, self.deviations, self.patience, self.whole_epochs = ratio, deviations, patience, whole_epochs
        self.losses: deque[float] = deque(maxlen=window)
        self.peaks = [0.0, 0.0]
        self.suspects = 0

    def observe(self, loss: float) -> tuple[bool, str]:
        """Add the loss of a step; returns whether it is suspect, and the reason if it completes a spike."""
        if math.isfinite(loss) and self._is_ordinary(loss):
            self.losses.append(loss)
            self.peaks[1] = max(self.peaks[1], loss)
            self.suspects = 0
            return False, ""
        self.suspects += 1
        if self.suspects < self.patience:
            return True, ""
        return True, f"the loss is at {loss:.4g} for {self.suspects} steps{self._against(self._limit())}"

    def end_epoch(self) -> None:
        self.peaks = [self.peaks[1], 0.0]

    def _is_ordinary(self, loss: float) -> bool:
        # The limit is at least a multiple of the median, and the median is at least the lowest loss. These two cheap
        # comparisons spare most steps the sorting of losses and deviations, which takes most of the time here.
        if self.losses and not self.whole_epochs:
            ratio = self.ratio or 0.0
            if loss <= ratio * min(self.losses) or loss <= ratio * abs(median(self.losses)):
                return True
        return loss <= self._limit()

    def _limit(self) -> float:
        if self.ratio is None or not self.losses:
            return math.inf
        if not self.whole_epochs:
            return spike_threshold(self.losses, self.ratio, self.deviations)
        return self.ratio * max(self.peaks) if self.peaks[0] else math.inf

    def _against(self, limit: float) -> str:
        if not math.isfinite(limit):
            return ""
        if self.whole_epochs:
            return f", above {limit:.4g}, from a highest of {max(self.peaks):.4g} in this epoch and the last"
        return f", above {limit:.4g}, from a median of {median(self.losses):.4g}"

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "peaks": list(self.peaks), "suspects": self.suspects}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses.clear()
        self.losses.extend(state.get("losses", []))
        self.peaks = list(state.get("peaks", [0.0, 0.0]))
        self.suspects = state.get("suspects", 0)
