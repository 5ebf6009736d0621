"""What is written beside the rows of a recording: estimate, error, interval, and what is outside the training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from vestim_pl.data.training_data import rows_outside
from vestim_pl.deploy.intervals import PredictionIntervals
from vestim_pl.deploy.running_estimate import RunningEstimate
from vestim_pl.metrics import VoltageErrors

__all__ = ["ADDED", "Figures", "RunningPrediction"]

ADDED = ("estimated_v", "error_mv", "lower_v", "upper_v", "outside_training_range")


@dataclass
class Figures:
    """Figures of a recording so far.

    Attributes:
        rows: Rows estimated.
        errors: RMSE, MAE and largest error in mV, over the scored rows.
        compared: Scored rows: those with a known voltage, after the burn-in.
        covered: Scored rows with an interval that contains the voltage.
        with_interval: Scored rows with an interval.
        outside: Rows outside the range of the training in any feature.
        notes: What the preparation assumed or changed, one sentence each, in order.
        outside_by: The same as ``outside`` by feature.

    """

    rows: int = 0
    errors: VoltageErrors = field(default_factory=VoltageErrors)
    compared: int = 0
    covered: int = 0
    with_interval: int = 0
    outside: int = 0
    notes: dict[str, None] = field(default_factory=dict)
    outside_by: dict[str, int] = field(default_factory=dict)

    def describe(self) -> str:
        """Return the figures in one line.

        Example::

            >>> Figures(rows=1320, outside=7, outside_by={"Temp": 7}).describe()
            '1,320 rows; 7 (0.53 %) outside the training range: Temp 7'

        """
        parts = [f"{self.rows:,} row{'' if self.rows == 1 else 's'}"]
        if self.compared:
            errors = {name: float(value) for name, value in self.errors.compute().items()}
            parts[0] += f", RMSE {errors['rmse_mv']:.2f} mV, max {errors['max_error_mv']:.1f} mV"
        if self.with_interval:
            parts[0] += f", {100 * self.covered / self.with_interval:.1f} % within the interval"
        if self.outside:
            by = ", ".join(f"{name} {count:,}" for name, count in self.outside_by.items() if count)
            share = 100 * self.outside / self.rows
            parts.append(f"{self.outside:,} ({share:.2g} %) outside the training range: {by}")
        return "; ".join(parts)


class RunningPrediction:
    """Predict recordings one after the other, each in chunks of any size.

    Args:
        estimate: Makes what estimates the rows of a recording.
        features: Names of the features.
        ranges: Range of each feature in the training; empty where the checkpoint does not know them.
        intervals: Half widths; None without.
        burn_in: First rows, which are estimated but, as in the test of the training, not scored; without interval.

    Attributes:
        figures: Figures of all rows so far.

    """

    def __init__(
        self,
        estimate: Callable[[], RunningEstimate],
        features: tuple[str, ...],
        ranges: Mapping[str, tuple[float, float]],
        intervals: PredictionIntervals | None = None,
        burn_in: int = 0,
    ) -> None:
        self._new_estimate = estimate
        self._features = features
        self._ranges = ranges
        self._intervals = intervals
        self._burn_in = burn_in
        self.figures = Figures(outside_by=dict.fromkeys(features, 0))
        self.restart()

    def restart(self) -> None:
        """Start another recording, from the zero state."""
        self._estimate = self._new_estimate()
        self._place = 0

    def feed(self, inputs: NDArray[np.float32], target: NDArray[np.float32] | None = None) -> pd.DataFrame:
        """Predict the next rows.

        Args:
            inputs: ``[n, F]`` features in physical units, all finite.
            target: ``[n]`` measured voltage in volts, NaN where it is unknown; None without.

        Returns:
            The columns of `ADDED` that apply, n rows: estimate and interval [V], error [mV], names of the features
            outside the range of the training.

        """
        first = max(0, self._burn_in - self._place)
        volts = self._estimate.feed(torch.from_numpy(np.require(inputs, np.float32, ["C", "W"]))).numpy()
        columns: dict[str, NDArray[np.float32] | pd.Series] = {"estimated_v": volts}
        if target is not None:
            columns["error_mv"] = error = (volts - target) * np.float32(1000)
            self._score(error[first:])
        if self._intervals is not None:
            half = self._intervals.half_widths(inputs)
            half[:first] = np.nan
            columns |= {"lower_v": volts - half, "upper_v": volts + half}
            if target is not None:
                known = np.isfinite(target) & np.isfinite(half) & np.isfinite(volts)
                self.figures.with_interval += int(known.sum())
                self.figures.covered += int((np.abs(volts - target) <= half)[known].sum())
        if self._ranges:
            columns["outside_training_range"] = self._mark(rows_outside(inputs, self._features, self._ranges))
        self.figures.rows += len(inputs)
        self._place += len(inputs)
        return pd.DataFrame(columns)

    def _score(self, error: NDArray[np.float32]) -> None:
        known = np.isfinite(error)
        if known.any():
            values = torch.from_numpy(error[known])
            self.figures.errors.update(values, torch.ones_like(values))
            self.figures.compared += len(values)

    def _mark(self, outside: NDArray[np.bool_]) -> pd.Series:
        """Name in every row the features that are outside, empty for none."""
        anywhere = outside.any(axis=1)
        self.figures.outside += int(anywhere.sum())
        for name, count in zip(self._features, outside.sum(axis=0), strict=True):
            self.figures.outside_by[name] += int(count)
        names = np.full(len(outside), "", dtype=object)
        if anywhere.any():
            kinds, which = np.unique(outside[anywhere], axis=0, return_inverse=True)
            words = [" ".join(np.asarray(self._features, dtype=object)[kind]) for kind in kinds]
            names[anywhere] = np.asarray(words, dtype=object)[which.reshape(-1)]
        return pd.Series(names, dtype="str" if pd.__version__ >= "3" else object)
