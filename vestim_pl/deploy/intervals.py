"""Prediction intervals: how far the measured voltage may be from the estimated one, by temperature."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from vestim_pl.deploy.checkpoint import load_checkpoint
from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.conformal import conformal_quantile
from vestim_pl.lightning_support.whole_checkpoint_io import WholeCheckpointIO

__all__ = ["PredictionIntervals", "calibrate", "store_intervals"]

BLOCK_SECONDS = 600.0
_KEY = "prediction_intervals"
_BORDERS = (
    -15.0,
    -5.0,
    5.0,
    17.0,
    32.0,
    45.0,
)  # degC, between the usual chamber temperatures -20, -10, 0, 10, 25, 40, 50


@dataclass(frozen=True)
class PredictionIntervals:
    """Half widths of the intervals around the estimated voltage, one for each band of temperature.

    Attributes:
        coverage: Share of rows whose measured voltage the interval contains, between 0 and 1.
        feature: Index of the temperature among the features; -1 for one band without temperature.
        borders: ``[K - 1]`` borders of the bands in degC, ascending.
        half_width: ``[K]`` half widths in volts.
        groups: ``[K]`` int64 blocks of rows that each width rests on; 0 where it is the widest of the other bands.

    """

    coverage: float
    feature: int
    borders: Tensor
    half_width: Tensor
    groups: Tensor

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> "PredictionIntervals | None":
        """Read the intervals of a checkpoint from `load_checkpoint`; None if it has none.

        Raises:
            ConfigurationError: If they are damaged.

        """
        if (stored := checkpoint.get(_KEY)) is None:
            return None
        try:
            found = cls(
                float(stored["coverage"]),
                int(stored["feature"]),
                *(stored[name].detach().reshape(-1) for name in ("borders", "half_width_v", "groups")),
            )
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigurationError(f"the prediction intervals are damaged: {type(error).__name__} {error}") from error
        bands = len(found.borders) + 1
        numbers = torch.cat([found.borders.double(), found.half_width.double(), torch.tensor([found.coverage])])
        sound = bool(torch.isfinite(numbers).all()) and bool((found.half_width >= 0).all()) and 0 < found.coverage < 1
        if not sound or not len(found.half_width) == len(found.groups) == bands or found.feature < -1:
            raise ConfigurationError(
                "the prediction intervals are damaged: they are not finite widths, one for each band"
            )
        return found

    def to_tensors(self) -> dict[str, Tensor]:
        """Return plain tensors, for a checkpoint."""
        return {
            "coverage": torch.tensor(self.coverage, dtype=torch.float64),
            "feature": torch.tensor(self.feature),
            "borders": self.borders,
            "half_width_v": self.half_width,
            "groups": self.groups,
        }

    def half_widths(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the half width in volts for each row of features ``[n, F]`` in physical units."""
        if self.feature < 0:
            return np.full(len(inputs), float(self.half_width[0]), dtype=np.float32)
        temperature = torch.from_numpy(np.ascontiguousarray(inputs[:, self.feature]))
        return self.half_width[torch.bucketize(temperature, self.borders, right=True)].numpy()

    def describe(self) -> str:
        """Return the half widths in mV by band in one line.

        Example::

            >>> borders, widths = torch.tensor([5.0]), torch.tensor([0.03, 0.012])
            >>> PredictionIntervals(0.9, 2, borders, widths, torch.tensor([20, 30])).describe()
            '90 % intervals: +-30.0 mV below 5 degC, +-12.0 mV above 5 degC'

        """
        limits = [-math.inf, *self.borders.tolist(), math.inf]
        parts = []
        for low, high, width, count in zip(limits[:-1], limits[1:], self.half_width, self.groups, strict=True):
            if int(count) or len(self.borders) == 0:
                parts.append(f"+-{float(width) * 1000:.1f} mV{_band(low, high)}")
        return f"{self.coverage * 100:g} % intervals: {', '.join(parts)}"


def calibrate(
    steps: pd.DataFrame, coverage: float, feature: int = -1, block_seconds: float = BLOCK_SECONDS
) -> PredictionIntervals | None:
    """Compute intervals from the errors on recordings that were not trained on.

    Recordings are divided into blocks of about ten minutes, after which the errors of a recording are nearly
    uncorrelated, and the blocks count as exchangeable, see `conformal_quantile`. Cells, drive cycles or temperatures
    unlike those of the calibration make the true coverage another one.

    A band of temperature with too few blocks for the coverage has the widest interval of the others. Where every band
    has too few, there is one band.

    Args:
        steps: Columns ``recording``, ``time`` [s], ``measured``, ``estimated`` [V] and, if it is a feature,
            ``temperature`` [degC]; recordings one after the other, rows in the order of time.
        coverage: Share of rows that the intervals are to contain, between 0 and 1.
        feature: Index of the temperature among the features; -1 for one band.
        block_seconds: Length of a block.

    Returns:
        None where even all blocks together are too few.

    """
    scores = torch.tensor((steps["estimated"] - steps["measured"]).to_numpy(dtype=np.float64)).abs()
    blocks = torch.from_numpy(_blocks(steps, block_seconds))
    borders = torch.tensor(_BORDERS if feature >= 0 else ())
    band = torch.zeros(len(steps), dtype=torch.int64)
    if feature >= 0:
        band = torch.bucketize(torch.tensor(steps["temperature"].to_numpy(dtype=np.float32)), borders, right=True)
    widths, groups = [], []
    for number in range(len(borders) + 1):
        inside = band == number
        own = blocks[inside].unique(return_inverse=True)[1]
        widths.append(conformal_quantile(scores[inside], own, coverage))
        groups.append(len(own.unique()) if math.isfinite(widths[-1]) else 0)
    finite = [width for width in widths if math.isfinite(width)]
    if not finite:
        return calibrate(steps, coverage, -1, block_seconds) if feature >= 0 else None
    half_width = torch.tensor([width if math.isfinite(width) else max(finite) for width in widths])
    return PredictionIntervals(coverage, feature, borders, half_width, torch.tensor(groups))


def _blocks(steps: pd.DataFrame, seconds: float) -> NDArray[np.int64]:
    """Number the blocks; those of a recording are equally long."""
    numbers, first = np.empty(len(steps), dtype=np.int64), 0
    for rows in steps.groupby("recording", sort=False, observed=True).indices.values():
        time = steps["time"].to_numpy(dtype=np.float64)[rows]
        length = time[-1] - time[0]
        count = max(1, round(length / seconds))
        place = (time - time[0]) / max(length, 1e-9) * count
        numbers[rows] = first + np.minimum(place.astype(np.int64), count - 1)
        first += count
    return numbers


def store_intervals(path: str | Path, intervals: PredictionIntervals) -> None:
    """Add intervals to a checkpoint; everything else in the file stays as it is.

    Args:
        path: Checkpoint of a training; whole at every moment.
        intervals: The intervals of its weights.

    Raises:
        ConfigurationError: If the file is no checkpoint.
        FileError: If it cannot be written.

    """
    checkpoint = load_checkpoint(path) | {_KEY: intervals.to_tensors()}
    WholeCheckpointIO().save_checkpoint(checkpoint, path)


def _band(low: float, high: float) -> str:
    """Describe a band of temperature.

    Example::

        >>> _band(-math.inf, 5.0), _band(5.0, 17.0), _band(-math.inf, math.inf)
        (' below 5 degC', ' at 5 to 17 degC', '')

    """
    if math.isinf(low) and math.isinf(high):
        return ""
    if math.isinf(low):
        return f" below {high:g} degC"
    return f" above {low:g} degC" if math.isinf(high) else f" at {low:g} to {high:g} degC"
