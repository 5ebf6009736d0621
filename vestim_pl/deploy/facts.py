"""Collect what a checkpoint knows about its model, to be written into every exported file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vestim_pl import __version__
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
        intervals: Prediction intervals, if the checkpoint has them.

    """

    features: tuple[str, ...]
    units: Mapping[str, str]
    network: Mapping[str, Any]
    version: str
    interval: float | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
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

    Example::

        >>> estimator = VoltageEstimator(["SOC", "I", "Temp"], {"name": "LSTM", "hidden_sizes": [8]})
        >>> facts = model_facts(estimator, {"current": "I"})
        >>> facts.units
        {'SOC': '0..1', 'I': 'A, discharge negative', 'Temp': 'degC'}
        >>> facts.interval, facts.ranges, facts.intervals
        (None, {}, None)

    """
    features = tuple(estimator.hparams["features"])
    data = estimator.hparams.get("data") or {}
    given = {quantity: column for quantity, column in (columns or {}).items() if column is not None}
    column_of = _COLUMNS | dict(data.get("columns") or {}) | given
    unit_of = {column_of[quantity]: unit for quantity, unit in _UNITS.items()}
    interval = (estimator.hparams.get("preparation") or {}).get("interval", data.get("interval_s"))
    ranges = {name: (float(low), float(high)) for name, (low, high) in (data.get("ranges") or {}).items()}
    return ModelFacts(
        features=features,
        units={name: unit_of[name] for name in features if name in unit_of},
        network=dict(estimator.hparams["network"]),
        version=__version__,
        interval=None if interval is None else float(interval),
        ranges={name: ranges[name] for name in features if name in ranges},
        intervals=_intervals((checkpoint or {}).get("prediction_intervals"), features),
    )


def _intervals(stored: Mapping[str, Any] | None, features: Sequence[str]) -> Intervals | None:
    if not stored:
        return None
    feature = int(stored["feature"])
    return Intervals(
        coverage=float(stored["coverage"]),
        feature=feature if 0 <= feature < len(features) else None,
        borders=tuple(stored["borders"].tolist()),
        half_widths=tuple(stored["half_width_v"].tolist()),
    )
