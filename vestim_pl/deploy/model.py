"""Use a trained checkpoint from Python: tables in and out, or sample by sample."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from vestim_pl.data.columns import Columns
from vestim_pl.data.training_data import Evaluation, TrainingData
from vestim_pl.deploy.checkpoint import build_estimator, load_checkpoint
from vestim_pl.deploy.intervals import PredictionIntervals
from vestim_pl.deploy.prediction import ADDED, RunningPrediction
from vestim_pl.deploy.running_estimate import RunningEstimate
from vestim_pl.deploy.streaming import StreamingEstimator
from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.settings.names import nearest

__all__ = ["VoltageModel", "load"]

_QUANTITIES = ("time", "current", "voltage", "temperature", "soc")
_AS_IN_TRAINING = 'evaluation: {!r} is unknown; use "streams" or "windows", or leave it out for that of the training'


def load(
    checkpoint: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    evaluation: Literal["streams", "windows"] | None = None,
    device: str | torch.device = "cpu",
    setting: str = "checkpoint",
) -> "VoltageModel":
    """Load a checkpoint for use.

    The file is not trusted: nothing is unpickled, and a damaged file is one line.

    Args:
        checkpoint: ``best.ckpt`` or ``last.ckpt`` of a training.
        columns: Names of columns that are not those of the training: ``{"voltage": "U", "current": "I"}``, by the
            quantities time, current, voltage, temperature and soc.
        evaluation: ``streams`` carries the state over a whole recording, ``windows`` estimates each row from the last
            ``lookback`` rows; by default as validation and test of the training did, whose errors then apply.
        device: Device of the computation.
        setting: Name of the path in messages.

    Raises:
        ConfigurationError: If the file is missing, damaged or no checkpoint of a voltage estimator, or a name is
            unknown.

    """
    content = load_checkpoint(checkpoint, setting=setting)
    estimator = build_estimator(content, checkpoint, setting=setting).to(device)
    try:
        data = TrainingData.of(estimator.hparams["data"])
        intervals = PredictionIntervals.of(content)
    except ConfigurationError as error:
        raise ConfigurationError(f"{setting}: {checkpoint}: {error}; give another one of that run") from None
    if evaluation not in (None, "streams", "windows"):
        raise ConfigurationError(_AS_IN_TRAINING.format(evaluation))
    if evaluation == "windows" and data.evaluation.lookback == 1 and not estimator.hparams["data"]:
        raise ConfigurationError(
            "evaluation: this checkpoint of an earlier version does not say how long its windows are; use streams"
        )
    chosen = data.evaluation if evaluation is None else replace(data.evaluation, mode=evaluation)
    return VoltageModel(estimator, replace(data, evaluation=chosen), intervals, _renamed(data.columns, columns or {}))


class VoltageModel:
    """A trained estimator with what its checkpoint knows: columns, ranges of the training, prediction intervals.

    Built by `load`, or directly from an estimator.

    Args:
        estimator: The trained estimator.
        data: What is known of its training.
        intervals: Prediction intervals; None without.
        columns: Column of each quantity in the tables; those of the training by default.

    Attributes:
        features: Names of the columns that it is fed with.

    Example::

        >>> estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [8]})
        >>> estimator.scaler.fit(torch.randn(100, 3), 3.7 + 0.1 * torch.randn(100))
        >>> model = VoltageModel(estimator, TrainingData(ranges={"Temp": (0.0, 40.0)}))
        >>> frame = pd.DataFrame({"SOC": [0.8, 0.8], "Current": [-1.0, -2.0], "Temp": [25.0, -20.0]})
        >>> list(model.predict(frame))
        ['SOC', 'Current', 'Temp', 'estimated_v', 'outside_training_range']
        >>> model.predict(frame)["outside_training_range"].tolist()
        ['', 'Temp']

    """

    def __init__(
        self,
        estimator: VoltageEstimator,
        data: TrainingData | None = None,
        intervals: PredictionIntervals | None = None,
        columns: Columns | None = None,
    ) -> None:
        self.estimator = estimator.eval()
        self.data = TrainingData() if data is None else data
        self.intervals = intervals
        self.columns = self.data.columns if columns is None else columns
        trained = {getattr(self.data.columns, name): getattr(self.columns, name) for name in _QUANTITIES}
        self.features: tuple[str, ...] = tuple(trained.get(name, name) for name in estimator.hparams["features"])
        self._ranges = {trained.get(name, name): limits for name, limits in self.data.ranges.items()}

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of each feature in the training; empty for a checkpoint of an earlier version."""
        return dict(self._ranges)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Estimate the voltage of every row of one recording.

        Args:
            frame: The features in physical units, rows at the rate of the training data in the order of time; with
                a voltage column the errors follow.

        Returns:
            A copy with the columns ``estimated_v`` [V]; ``error_mv`` where there is a voltage; ``lower_v``, ``upper_v``
            [V] where the checkpoint has intervals; ``outside_training_range``, the features of the row that are outside
            the range of the training, where the checkpoint knows it.

        Raises:
            DataError: If a column is missing, a value is not a finite number, or time does not increase.

        """
        prediction = self.start("the table")
        prediction.refuse_added([str(name) for name in frame.columns])
        added = prediction.feed(frame)
        return pd.concat([frame, added.set_axis(frame.index)], axis=1)

    def start(self, label: str) -> "TablePrediction":
        """Start the prediction of one recording that comes in parts.

        Args:
            label: Name of the recording in messages.

        """
        return TablePrediction(self, label)

    def stream(self, cells: int = 1) -> StreamingEstimator:
        """Return the estimator for one sample at a time, as in a battery management system.

        Args:
            cells: Number of cells, estimated in parallel.

        """
        names = {name: getattr(self.data.columns, name) for name in ("current", "temperature", "soc")}
        return StreamingEstimator(self.estimator, cells, **names)

    def running_prediction(self) -> RunningPrediction:
        """Start the prediction of one recording from arrays."""
        evaluation: Evaluation = self.data.evaluation
        estimate = RunningEstimate(self.estimator, evaluation)
        return RunningPrediction(
            estimate, self.features, self._ranges, self.intervals, evaluation.burn_in + evaluation.horizon
        )


class TablePrediction:
    """Predict one recording that comes as parts of a table.

    Args:
        model: The model.
        label: Name of the recording in messages.

    Attributes:
        figures: Errors and counts of the rows so far.
        reads: Names of the columns that are read where they are there.

    """

    def __init__(self, model: VoltageModel, label: str) -> None:
        self._model = model
        self._label = label
        self._running = model.running_prediction()
        self._last_time = -math.inf
        self.figures = self._running.figures
        self.reads = {*model.features, model.columns.time, model.columns.voltage}

    def feed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the next rows; see `VoltageModel.predict`.

        Args:
            frame: The next rows.

        Returns:
            The new columns alone, rows numbered from 0.

        """
        names = [str(name) for name in frame.columns]
        for feature in self._model.features:
            if feature not in names:
                raise DataError(
                    f"{self._label}: column {feature!r}, with which the network is fed, is missing;"
                    f" {nearest(feature, names)}, or name it with columns"
                )
        columns = self._model.columns
        if columns.time in names:
            self._check_time(frame[columns.time])
        inputs = np.column_stack([self._finite(frame[name], name) for name in self._model.features])
        target = self._numbers(frame[columns.voltage], columns.voltage)[0] if columns.voltage in names else None
        return self._running.feed(inputs, target)

    def refuse_added(self, names: Sequence[str]) -> None:
        """Refuse a table that has a column of a prediction already.

        Raises:
            DataError: With the column.

        """
        if taken := [name for name in names if name in ADDED]:
            raise DataError(
                f"{self._label}: has a column {taken[0]!r} already, from an earlier prediction; give the original table"
            )

    def _finite(self, values: pd.Series, column: str) -> NDArray[np.float32]:
        numbers, given = self._numbers(values, column)
        bad = np.flatnonzero(~np.isfinite(numbers))
        if bad.size:
            raise DataError(
                f"{self._label}: column {column!r}, row {self.figures.rows + int(bad[0])} (counted from 0) is"
                f" {str(given.iloc[bad[0]]) or 'empty'!r}, which would never leave the state; fill or remove such rows"
            )
        return numbers

    def _numbers(self, values: pd.Series, column: str) -> tuple[NDArray[np.float32], pd.Series]:
        """Return a column as float32, NaN where it is empty; text is refused."""
        if isinstance(values, pd.DataFrame):
            raise DataError(f"{self._label}: has several columns named {column!r}; rename all but one")
        numbers = pd.to_numeric(values, errors="coerce")
        wrong = np.flatnonzero((numbers.isna() & values.notna() & (values.astype(str).str.strip() != "")).to_numpy())
        if pd.api.types.is_numeric_dtype(values):
            wrong = wrong[:0]
        if wrong.size:
            raise DataError(
                f"{self._label}: column {column!r}, row {self.figures.rows + int(wrong[0])} (counted from 0) is not a"
                f" number but {str(values.iloc[wrong[0]])!r}; correct it"
            )
        with np.errstate(over="ignore"):
            return numbers.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32), values

    def _check_time(self, values: pd.Series) -> None:
        """Refuse rows that are not in the order of time, where time is a number."""
        time = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isnan(time).any():
            return
        steps = np.diff(time, prepend=self._last_time)
        back = np.flatnonzero(steps <= 0)
        if back.size:
            raise DataError(
                f"{self._label}: column {self._model.columns.time!r}, row {self.figures.rows + int(back[0])} (counted"
                " from 0): time does not increase; sort the rows by time and remove repeated ones"
            )
        if time.size:
            self._last_time = float(time[-1])


def _renamed(columns: Columns, names: Mapping[str, Any]) -> Columns:
    for quantity in names:
        if quantity not in _QUANTITIES:
            raise ConfigurationError(f"columns.{quantity}: no such quantity; {nearest(quantity, _QUANTITIES)}")
    return replace(columns, **{name: column for name, column in names.items() if column is not None})
