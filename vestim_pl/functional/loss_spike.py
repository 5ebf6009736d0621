"""Did the loss jump out of what it was lately?"""

import math
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Any

from vestim_pl.functional.errors import ConfigurationError

__all__ = ["LossWatch", "spike_threshold"]

_MAD_TO_SIGMA = 1.4826
_LEAST_HISTORY = 10


def spike_threshold(losses: Sequence[float], ratio: float, deviations: float) -> float:
    r"""Loss above which a step is a spike, from the losses of the steps before it.

    .. math:: \max(\tilde{x} + k \cdot 1.4826 \cdot \mathrm{MAD},\; r \cdot |\tilde{x}|)

    The median and the median absolute deviation, scaled to a standard deviation of a normal distribution (Leys et al.
    2013), do not follow the spike itself, as mean and variance would. The ratio keeps a smooth loss, whose deviation
    is next to nothing, from calling every wiggle a spike.

    Args:
        losses: Finite losses of recent steps; not empty.
        ratio: Least multiple of the median, r.
        deviations: Least number of standard deviations above the median, k.

    Example::

        >>> spike_threshold([1.0, 1.1, 0.9, 1.0], ratio=5.0, deviations=10.0)
        5.0

    """
    middle = median(losses)
    spread = _MAD_TO_SIGMA * median(abs(loss - middle) for loss in losses)
    return max(middle + deviations * spread, ratio * abs(middle))


class LossWatch:
    """Follows the loss and tells a passing outlier from a jump that stays.

    A loss above :func:`spike_threshold` makes a step suspect; ``patience`` suspect steps in a row are a spike. Suspect
    losses are not taken into the history, or a slow explosion would raise its own threshold.

    Args:
        ratio: Least multiple of the running median; None never calls a finite loss suspect.
        deviations: Least number of standard deviations above the running median.
        window: Number of recent losses kept.
        patience: Suspect steps in a row that make a spike.

    Raises:
        ConfigurationError: If an argument is out of range.

    Example::

        >>> watch = LossWatch(ratio=5.0, deviations=10.0, window=100, patience=2)
        >>> for _ in range(20):
        ...     _ = watch.observe(1.0)
        >>> watch.observe(50.0)
        (True, '')
        >>> watch.observe(60.0)[1]
        'the loss is at 60 for 2 steps, above 5 from a median of 1'

    """

    def __init__(self, ratio: float | None, deviations: float, window: int, patience: int) -> None:
        if ratio is not None and ratio <= 1:
            raise ConfigurationError(f"spike_ratio: {ratio} is not above 1; 5 is usual, null switches it off")
        if deviations < 0 or window < _LEAST_HISTORY or patience < 1:
            raise ConfigurationError(
                f"spike_deviations={deviations}, spike_window={window}, spike_patience={patience}: need deviations of"
                f" 0 or more, a window of {_LEAST_HISTORY} or more and a patience of 1 or more"
            )
        self.ratio, self.deviations, self.patience = ratio, deviations, patience
        self.losses: deque[float] = deque(maxlen=window)
        self.suspects = 0

    def observe(self, loss: float) -> tuple[bool, str]:
        """Take the loss of a step; returns whether it is suspect, and the reason where it makes a spike."""
        limit = math.inf
        if self.ratio is not None and len(self.losses) >= _LEAST_HISTORY:
            limit = spike_threshold(self.losses, self.ratio, self.deviations)
        if math.isfinite(loss) and loss <= limit:
            self.losses.append(loss)
            self.suspects = 0
            return False, ""
        self.suspects += 1
        if self.suspects < self.patience:
            return True, ""
        against = f", above {limit:.4g} from a median of {median(self.losses):.4g}" if math.isfinite(limit) else ""
        return True, f"the loss is at {loss:.4g} for {self.suspects} steps{against}"

    def state_dict(self) -> dict[str, Any]:
        """History and count as plain numbers."""
        return {"losses": list(self.losses), "suspects": self.suspects}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take history and count back; what is missing starts anew."""
        self.losses.clear()
        self.losses.extend(state.get("losses", []))
        self.suspects = state.get("suspects", 0)
