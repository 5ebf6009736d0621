"""Values of a run's metrics by epoch."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["epoch_values", "last_tenth"]


def epoch_values(metrics: pd.DataFrame, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return epochs and values of a key that is logged once an epoch; the last value if an epoch is logged twice.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        key: Name of the metric.

    Example::

        >>> metrics = pd.DataFrame({"key": "a", "epoch": [0, 1, 1], "step": [9, 15, 19], "value": [3.0, 2.0, 1.0]})
        >>> epoch_values(metrics, "a")
        (array([0., 1.]), array([3., 1.]))

    """
    rows = metrics[(metrics["key"] == key) & metrics["epoch"].notna()]
    rows = rows.drop_duplicates("epoch", keep="last").sort_values("epoch", kind="stable")
    return rows["epoch"].to_numpy("float64"), rows["value"].to_numpy("float64")


def last_tenth(values: NDArray[np.float64]) -> float:
    """Return the median of the last tenth of the values; the last one if there are fewer than twenty.

    Example::

        >>> last_tenth(np.arange(50.0))
        47.0

    """
    return float(np.median(values[-max(1, len(values) // 10) :]))
