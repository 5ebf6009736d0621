"""Find the minute of a recording in which the estimate is worst."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Minute", "worst_minute"]

_MINUTE = 60.0


class Minute(NamedTuple):
    """First and last time in s, and the RMSE in mV between."""

    start: float
    end: float
    rmse_mv: float


def worst_minute(time: NDArray[np.float64], error_mv: NDArray[np.float64]) -> Minute:
    """Return the minute with the highest RMSE; a non-finite error is worse than any other.

    Args:
        time: Seconds, increasing.
        error_mv: Error of each step in mV.

    Example::

        >>> worst_minute(np.arange(200.0), np.where(np.arange(200) >= 120, 9.0, 1.0))
        Minute(start=120.0, end=179.0, rmse_mv=9.0)

    """
    bad = np.flatnonzero(~np.isfinite(error_mv))
    if len(bad):
        first = int(bad[0])
        last = int(np.searchsorted(time, time[first] + _MINUTE)) - 1
        return Minute(float(time[first]), float(time[max(first, last)]), float("nan"))
    ends = np.maximum(np.searchsorted(time, time + _MINUTE), np.arange(len(time)) + 1)
    total = np.concatenate([[0.0], np.cumsum(error_mv**2)])
    whole = time + _MINUTE <= time[-1] + np.median(np.diff(time)) if len(time) > 1 else np.array([True])
    mean = np.where(whole, (total[ends] - total[:-1]) / (ends - np.arange(len(time))), -1.0)
    first = int(np.argmax(mean)) if whole.any() else 0
    last = int(ends[first]) - 1
    return Minute(float(time[first]), float(time[last]), float(np.sqrt(np.mean(error_mv[first : last + 1] ** 2))))
