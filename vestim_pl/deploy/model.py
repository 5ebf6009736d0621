"""Use a trained checkpoint from Python: tables in and out, or sample by sample."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from vestim_pl.data.preparation import PreparationSettings
from vestim_pl.data.preparation.given import given_settings
from vestim_pl.data.training_data import TrainingData
from vestim_pl.deploy.checkpoint import build_estimator, load_checkpoint
from vestim_pl.deploy.intervals import PredictionIntervals
from vestim_pl.deploy.prediction import RunningPrediction
from vestim_pl.deploy.python_suggestions import for_python
from vestim_pl.deploy.running_estimate import RunningEstimate
from vestim_pl.deploy.streaming import StreamingEstimator
from vestim_pl.deploy.table_prediction import TablePrediction
from vestim_pl.errors import ConfigurationError, DataError, name_error, printable
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.settings.arguments import argument_types, check_arguments
from vestim_pl.settings.checks import check_choice

__all__ = ["VoltageModel", "load", "load_model"]


Mode = Literal["streams", "windows"]


def load(
    checkpoint: str | Path, *, evaluation: Mode | None = None, device: str | torch.device = "cpu", **files: Any
) -> "VoltageModel":
    """Load a checkpoint for use: ``vestim_pl.load("best.ckpt").predict(frame)``.

    The file is not trusted: nothing is unpickled, and a damaged file is one line.

    Args:
        checkpoint: ``best.ckpt`` or ``last.ckpt`` of a training.
        evaluation: ``streams`` carries the state over a whole recording, ``windows`` estimates each row from the last
            ``lookback`` rows; by default as validation and test of the training did, whose errors then apply.
        device: Device of the computation.
        files: What is not as in the training: ``columns={"current": "I"}``, ``units={"current": "mA"}`` and others of
            `given_settings`.

    Raises:
        ConfigurationError: If the file is missing, damaged or no checkpoint of a voltage estimator, or a name is
            unknown.

    """
    check_arguments("load", files, argument_types(given_settings))
    return load_model(checkpoint, given_settings(**files), evaluation, device)


def load_model(
    checkpoint: str | Path,
    given: PreparationSettings | None = None,
    evaluation: Mode | None = None,
    device: str | torch.device = "cpu",
    setting: str = "checkpoint",
) -> "VoltageModel":
    """Load a checkpoint; see `load`.

    Args:
        checkpoint: The file.
        given: What is not as in the training.
        evaluation: Streams or windows; as in the training by default.
        device: Device of the computation.
        setting: Name of the path in messages.

    """
    content = load_checkpoint(checkpoint, setting=setting)
    estimator = build_estimator(content, checkpoint, setting=setting)
    try:
        data = TrainingData.of(estimator.hparams["data"])
        intervals = PredictionIntervals.of(content)
        trained = PreparationSettings.of_estimator(estimator.hparams)
    except Exception as error:  # settings in a file can raise anything
        raise ConfigurationError(
            f"{setting}: {checkpoint} has a damaged description of its training ({printable(name_error(error))});"
            " give another checkpoint of that run"
        ) from error
    if evaluation is not None:
        check_choice("evaluation", evaluation, ("streams", "windows"))
        if evaluation == "windows" and not estimator.hparams["data"]:
            raise ConfigurationError(
                "evaluation: windows, but this checkpoint of an earlier version does not say how long they are; use"
                " evaluation=streams"
            )
        data = replace(data, evaluation=replace(data.evaluation, mode=evaluation))
    settings = trained if given is None else trained.overridden_by(given)
    try:
        estimator = estimator.to(device)
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"device: {device} cannot be used ({reason}); use device=cpu") from error
    return VoltageModel(estimator, data, intervals, settings)


class VoltageModel:
    """A trained estimator with what its checkpoint knows: preparation, ranges of the training, prediction intervals.

    Built by `load`, or directly from an estimator.

    Args:
        estimator: The trained estimator.
        data: What is known of its training.
        intervals: Prediction intervals; None without.
        settings: How tables are prepared; as in the training by default.

    Attributes:
        features: Names of the features that the estimator is fed with.

    Example::

        >>> estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [8]})
        >>> estimator.scaler.fit(torch.randn(100, 3), 3.7 + 0.1 * torch.randn(100))
        >>> model = VoltageModel(estimator, TrainingData(ranges={"Temp": (0.0, 40.0)}))
        >>> frame = pd.DataFrame({"Time": [0, 1], "SOC": 0.8, "Current": [-1.0, -2.0], "Temp": [25.0, -20.0]})
        >>> list(model.predict(frame))
        ['Time', 'SOC', 'Current', 'Temp', 'estimated_v', 'outside_training_range']
        >>> model.predict(frame)["outside_training_range"].tolist()
        ['', 'Temp']

    """

    def __init__(
        self,
        estimator: VoltageEstimator,
        data: TrainingData | None = None,
        intervals: PredictionIntervals | None = None,
        settings: PreparationSettings | None = None,
    ) -> None:
        self.estimator = estimator.eval()
        self.data = TrainingData() if data is None else data
        self.intervals = intervals
        self.settings = PreparationSettings.of_estimator(estimator.hparams) if settings is None else settings
        self.features: tuple[str, ...] = tuple(estimator.hparams["features"])

    def __repr__(self) -> str:
        """Describe the model in one line, as a notebook shows it."""
        intervals = "without intervals" if self.intervals is None else self.intervals.describe()
        network = self.estimator.hparams["network"]["name"]
        return f"VoltageModel({network} of {', '.join(self.features)}; {self.data.evaluation.mode}; {intervals})"

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Estimate the voltage of every row of one recording.

        Args:
            frame: Time and features, rows at the rate of the training in the order of time; with a voltage column the
                errors follow.

        Returns:
            A copy with the columns ``estimated_v`` [V]; ``error_mv`` where there is a voltage; ``lower_v``, ``upper_v``
            [V] where the checkpoint has intervals; ``outside_training_range``, the features of the row that are outside
            the range of the training, where the checkpoint knows it. With ``resample`` the rows and columns are those
            of the preparation.

        Raises:
            DataError: If a column is missing, or values are not finite or cannot mean what they should.

        """
        if not isinstance(frame, pd.DataFrame):
            raise DataError(
                f"the table: is a {type(frame).__name__}, not a pandas DataFrame; give pandas.DataFrame(...)"
            )
        try:
            added = self.start("the table").feed(frame)
        except DataError as error:
            raise DataError(for_python(str(error))) from None
        if self.settings.resample is not None:
            return added
        return pd.concat([frame, added.set_axis(frame.index)], axis=1)

    def start(self, label: str, progress: Callable[[int], object] = lambda rows: None) -> TablePrediction:
        """Start the prediction of one file.

        Args:
            label: Its name in messages.
            progress: Called with the number of rows that are done.

        """
        return TablePrediction(self.running_prediction(), self.settings, label, progress)

    def stream(self, cells: int = 1, interval: float | None = None) -> StreamingEstimator:
        """Return the estimator for one sample at a time, as in a battery management system.

        Args:
            cells: Number of cells, estimated in parallel.
            interval: Seconds between your samples, to be compared with those of the training.

        """
        roles = {role: name for name, role in self.settings.feature_roles.items()}
        names: dict[str, Any] = {role: roles[role] for role in ("current", "temperature", "soc") if role in roles}
        return StreamingEstimator(self.estimator, cells, interval=interval, **names)

    def running_prediction(self) -> RunningPrediction:
        """Start the prediction of recordings from arrays in physical units."""
        evaluation = self.data.evaluation
        return RunningPrediction(
            lambda: RunningEstimate(self.estimator, evaluation),
            self.features,
            self.data.ranges,
            self.intervals,
            evaluation.burn_in + evaluation.horizon,
        )
