"""Correlate the error of an estimate with itself over time."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["decay_time", "error_autocorrelation"]

_PER_DECADE = (1, 2, 3, 5, 7)
_LONGEST = 0.25  # of the longest recording; beyond that too few pairs are left


def error_autocorrelation(steps: pd.DataFrame) -> pd.DataFrame:
    """Compute the autocorrelation of the error, pooled over recordings, at lags of 1, 2, 3, 5, 7, 10, ... steps.

    An error that stays for minutes is a wrong operating point: thousands of steps are then few independent errors.
    The mean over all steps is subtracted, so a recording with an offset of its own correlates at every lag.
    Source: the estimator of Box, Jenkins & Reinsel, *Time Series Analysis*, 2.1.5, divided by the
    number of pairs at each lag.

    Args:
        steps: Columns ``recording``, ``time`` [s], ``measured`` and ``estimated`` [V], evenly sampled.

    Returns:
        Columns ``lag`` [s], ``pairs`` (of steps that far apart) and ``autocorrelation``; empty if the error is constant
        or never finite.

    Example::

        >>> steps = pd.DataFrame({"recording": "a", "time": range(8), "measured": 0.0, "estimated": [1, -1] * 4})
        >>> error_autocorrelation(steps).values.tolist()
        [[1.0, 7.0, -1.0], [2.0, 6.0, 1.0]]

    """
    error = steps["estimated"].to_numpy(np.float64) - steps["measured"].to_numpy(np.float64)
    finite = np.isfinite(error)
    centred = np.where(finite, error - error[finite].mean(), 0.0) if finite.any() else np.zeros_like(error)
    variance = float(np.sum(centred**2)) / max(1, int(finite.sum()))
    names = ["lag", "pairs", "autocorrelation"]
    if variance == 0.0:
        return pd.DataFrame(columns=pd.Index(names), dtype=np.float64)
    codes = steps["recording"].astype("category").cat.codes.to_numpy()
    ends = np.flatnonzero(np.diff(codes)) + 1
    parts = list(zip(np.split(centred, ends), np.split(finite, ends), strict=True))
    interval = _interval(steps["time"].to_numpy(np.float64), codes)
    rows = []
    for lag in _lags(max(len(part) for part, _ in parts)):
        product = sum(float(part[:-lag] @ part[lag:]) for part, _ in parts if len(part) > lag)
        pairs = sum(int((known[:-lag] & known[lag:]).sum()) for _, known in parts if len(known) > lag)
        if pairs:
            rows.append((lag * interval, pairs, product / pairs / variance))
    return pd.DataFrame(rows, columns=pd.Index(names))


def decay_time(lags: pd.DataFrame) -> float | None:
    """Return the lag in s at which the autocorrelation falls below 1/e; None if it never does.

    Args:
        lags: From `error_autocorrelation`.

    Example::

        >>> decay_time(pd.DataFrame({"lag": [1.0, 2.0, 3.0], "autocorrelation": [0.9, 0.5, 0.2]})).__round__(2)
        2.44

    """
    lag = np.r_[0.0, lags["lag"].to_numpy(np.float64)]
    value = np.r_[1.0, lags["autocorrelation"].to_numpy(np.float64)]
    below = np.flatnonzero(value < 1 / np.e)
    if not len(below):
        return None
    last = below[0]
    return float(np.interp(-1 / np.e, [-value[last - 1], -value[last]], [lag[last - 1], lag[last]]))


def _lags(longest: int) -> list[int]:
    most = int(_LONGEST * longest)
    return [
        lag for power in range(len(str(most))) for lag in (first * 10**power for first in _PER_DECADE) if lag <= most
    ]


def _interval(time: NDArray[np.float64], codes: NDArray[np.integer[Any]]) -> float:
    within = np.diff(time)[np.diff(codes) == 0]
    return float(np.median(within)) if len(within) else 1.0
