"""Collect what a checkpoint knows about its model, to be written into every exported file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vestim_pl import __version__
from vestim_pl.data.preparation import PreparationSettings
from vestim_pl.data.training_data import TrainingData
from vestim_pl.deploy.intervals import PredictionIntervals
from vestim_pl.errors import ConfigurationError, name_error, printable
from vestim_pl.estimator import VoltageEstimator

__all__ = ["Intervals", "ModelFacts", "model_facts"]

_UNITS = {"current": "A, discharge negative", "temperature": "degC", "soc": "0..1"}
_COLUMNS = {"current": "Current", "temperature": "Temp", "soc": "SOC"}


@dataclass(frozen=True)
class Intervals:
    """Prediction intervals by temperature band.

    Attributes:
        coverage: Share of the measured voltages that they are to hold, 0..1.
        feature: Position of the temperature among the features; None if there is a single band.
        borders: ``[K - 1]`` borders of the bands in degC, ascending; a band includes its lower border.
        half_widths: ``[K]`` half width of the interval in each band, in volts.

    """

    coverage: float
    feature: int | None
    borders: tuple[float, ...]
    half_widths: tuple[float, ...]


@dataclass(frozen=True)
class ModelFacts:
    """What an exported model says about itself.

    Attributes:
        features: Names of the features, in order.
        units: Unit by feature, where known.
        network: Name and options of the network.
        version: Version of vestim_pl that exported it.
        interval: Seconds between samples in the training data; None if the checkpoint does not have it.
        ranges: Least and largest value in the training data by feature, where known.
        formulas: Formula by feature, of those that the training derived from other columns.
        intervals: Prediction intervals, if the checkpoint has them.

    """

    features: tuple[str, ...]
    units: Mapping[str, str]
    network: Mapping[str, Any]
    version: str
    interval: float | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    formulas: Mapping[str, str] = field(default_factory=dict)
    intervals: Intervals | None = None

    def metadata(self) -> dict[str, Any]:
        """Return plain values by key, to be written as JSON; what is not known is left out."""
        known: dict[str, Any] = {
            "features": list(self.features),
            "units": dict(self.units),
            "network": dict(self.network),
            "vestim_pl": self.version,
        }
        if self.interval is not None:
            known["interval_s"] = self.interval
        if self.ranges:
            known["ranges"] = {name: list(ends) for name, ends in self.ranges.items()}
        if self.formulas:
            known["formulas"] = dict(self.formulas)
        if self.intervals is not None:
            known["prediction_intervals"] = {
                "coverage": self.intervals.coverage,
                "feature": None if self.intervals.feature is None else self.features[self.intervals.feature],
                "borders": list(self.intervals.borders),
                "half_width_v": list(self.intervals.half_widths),
            }
        return known


def model_facts(
    estimator: VoltageEstimator,
    columns: Mapping[str, str | None] | None = None,
    checkpoint: Mapping[str, Any] | None = None,
) -> ModelFacts:
    """Read the facts of an estimator; older checkpoints have fewer.

    Args:
        estimator: The trained estimator.
        columns: Column of ``current``, ``temperature`` and ``soc``; None as in the training.
        checkpoint: Its checkpoint, for the prediction intervals; None if there is no file.

    Raises:
        ConfigurationError: If the checkpoint's facts are damaged.

    Example::

        >>> estimator = VoltageEstimator(["SOC", "I", "Temp"], {"name": "LSTM", "hidden_sizes": [8]})
        >>> facts = model_facts(estimator, {"current": "I"})
        >>> facts.units
        {'SOC': '0..1', 'I': 'A, discharge negative', 'Temp': 'degC'}
        >>> facts.interval, facts.ranges, facts.intervals
        (None, {}, None)

    """
    settings = estimator.hparams
    features = tuple(settings["features"])
    try:
        preparation = settings.get("preparation") or {}
        quantities = _quantities(features, preparation, columns or {})
        trained = PreparationSettings.of_estimator(settings)
        ranges = TrainingData.of(settings.get("data")).ranges
        return ModelFacts(
            features=features,
            units={name: _UNITS[quantities[name]] for name in features if name in quantities},
            network=dict(settings["network"]),
            version=__version__,
            interval=trained.interval,
            ranges={name: ranges[name] for name in features if name in ranges},
            formulas={name: formula for name, formula in trained.derived.items() if name in features},
            intervals=_intervals(checkpoint or {}, features),
        )
    except (
        AttributeError,
        ConfigurationError,
        KeyError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # a file can hold anything
        raise ConfigurationError(
            "ckpt_path: what the checkpoint says about its training data is damaged"
            f" ({printable(name_error(error))}); give another checkpoint of that run"
        ) from error


def _quantities(
    features: Sequence[str], preparation: Mapping[str, Any], columns: Mapping[str, str | None]
) -> dict[str, str]:
    """Find the quantity behind each feature: as the command says, as the training did, or by its usual name."""
    given = {column: quantity for quantity, column in columns.items() if column is not None}
    usual = _COLUMNS | {key: name for key, name in (preparation.get("columns") or {}).items() if key in _UNITS}
    trained = {column: quantity for quantity, column in usual.items()} | dict(preparation.get("roles") or {})
    kept = {name: quantity for name, quantity in trained.items() if quantity not in given.values()}
    found = kept | given
    return {name: found[name] for name in features if found.get(name) in _UNITS}


def _intervals(checkpoint: Mapping[str, Any], features: Sequence[str]) -> Intervals | None:
    if (found := PredictionIntervals.of(checkpoint)) is None:
        return None
    return Intervals(
        coverage=found.coverage,
        feature=found.feature if 0 <= found.feature < len(features) else None,
        borders=tuple(sorted(found.borders.tolist())),
        half_widths=tuple(found.half_width.tolist()),
    )
