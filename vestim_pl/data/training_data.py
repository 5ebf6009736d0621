"""What an estimator must know about the data of its training, to be used on other data."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vestim_pl.data.datamodule import VoltageDataModule
from vestim_pl.errors import ConfigurationError

__all__ = ["Evaluation", "TrainingData", "rows_outside"]


@dataclass(frozen=True)
class Evaluation:
    """How the recordings of the training were evaluated; estimates made in the same way have the same errors.

    Attributes:
        mode: ``streams``: whole recordings with carried state; ``windows``: every row from the rows just before it.
        lookback: Rows in a window.
        horizon: Rows from the last one that is read to the estimated one.
        burn_in: First rows of a recording, which are not scored.

    """

    mode: Literal["streams", "windows"] = "streams"
    lookback: int = 1
    horizon: int = 0
    burn_in: int = 0

    def __post_init__(self) -> None:
        numbers = (self.lookback, self.horizon, self.burn_in)
        whole = all(isinstance(number, int) and number >= 0 for number in numbers) and self.lookback >= 1
        if self.mode not in ("streams", "windows") or not whole:
            raise ConfigurationError(f"evaluation: {asdict(self)} is not a way to evaluate recordings")


@dataclass(frozen=True)
class TrainingData:
    """Ranges and evaluation of a training, as the hyperparameter ``data`` of its checkpoint.

    Attributes:
        ranges: Lowest and highest value of each feature in the training rows, in its unit; empty where unknown.
        evaluation: How validation and test were run.

    Example::

        >>> data = TrainingData(ranges={"Temp": (-10.0, 40.0)})
        >>> TrainingData.of(data.to_dict()) == data
        True

    """

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def describe(cls, datamodule: VoltageDataModule) -> "TrainingData":
        """Describe the training split and the sampling of a data module.

        Args:
            datamodule: The recordings, read.

        """
        inputs, sampling = datamodule.table("train").inputs, datamodule.sampling
        low, high = torch.aminmax(inputs[:, : len(datamodule.features)], dim=0)
        limits = zip(low.tolist(), high.tolist(), strict=True)
        return cls(
            dict(zip(datamodule.features, limits, strict=True)),
            Evaluation(sampling.evaluation, sampling.lookback, sampling.horizon, sampling.scored_from),
        )

    @classmethod
    def of(cls, plain: Any) -> "TrainingData":
        """Read what `to_dict` returned; keys of other parts are ignored, and missing ones have their default.

        Raises:
            ConfigurationError: If a value has a wrong type, as in a checkpoint that was tampered with.

        """
        plain = plain or {}
        try:
            return cls(
                {str(name): _limits(value) for name, value in plain.get("ranges", {}).items()},
                Evaluation(**plain.get("evaluation", {})),
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigurationError(f"the description of the training data is damaged: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        ranges = {name: list(limits) for name, limits in self.ranges.items()}
        return {"ranges": ranges, "evaluation": asdict(self.evaluation)}


def rows_outside(
    inputs: NDArray[np.float32], features: tuple[str, ...], ranges: Mapping[str, tuple[float, float]]
) -> NDArray[np.bool_]:
    """Find the values outside the range of the training.

    Args:
        inputs: ``[n, F]`` features in physical units.
        features: F names.
        ranges: From `TrainingData`; a feature without a range is never outside.

    Returns:
        ``[n, F]`` bool.

    Example::

        >>> rows_outside(np.array([[0.5, -20.0], [0.5, 25.0]], np.float32), ("SOC", "Temp"), {"Temp": (-10.0, 40.0)})
        array([[False,  True],
               [False, False]])

    """
    limits = [ranges.get(name, (-math.inf, math.inf)) for name in features]
    low, high = np.asarray(limits, dtype=np.float32).reshape(-1, 2).T
    return (inputs < low) | (inputs > high)


def _limits(value: Any) -> tuple[float, float]:
    low, high = (float(limit) for limit in value)
    if not -math.inf < low <= high < math.inf:
        raise ValueError(f"{low} to {high} is not a range")
    return low, high
