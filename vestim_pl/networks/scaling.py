"""Standardize features and target, as part of the model."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vestim_pl.errors import ConfigurationError, DataError

__all__ = ["StandardScaler"]

_log = logging.getLogger("vestim_pl")


class StandardScaler(nn.Module):
    """Scale physical units to zero mean and unit variance, and back, with statistics in the checkpoint (as buffers).

    Fit it on the training recordings only. Statistics are computed in float64 and in chunks, so no copy of the data is
    made.

    Args:
        features: Number of features F, or their names for use in messages.

    Attributes:
        input_mean: ``[F]`` mean of each feature, in its unit.
        input_std: ``[F]`` standard deviation of each feature, in its unit; 1 for a constant one.
        target_mean: ``[]`` mean voltage, in volts.
        target_std: ``[]`` standard deviation of the voltage, in volts per scaled unit.
        fitted: ``[]`` bool, whether the statistics come from data.

    Raises:
        ConfigurationError: If it is used before it was fitted or loaded.
        DataError: If the data are empty or non-finite.

    Example::

        >>> scaler = StandardScaler(["Current [A]", "SOC"])
        >>> inputs, target = torch.tensor([[-2.0, 0.0], [2.0, 1.0]]), torch.tensor([3.0, 4.0])
        >>> scaler.fit(inputs, target)
        >>> scaler.scale_inputs(inputs)
        tensor([[-1., -1.],
                [ 1.,  1.]])
        >>> scaler.unscale_target(torch.tensor(1.0)).item()
        4.0

    """

    input_mean: Tensor
    input_std: Tensor
    target_mean: Tensor
    target_std: Tensor
    fitted: Tensor

    def __init__(self, features: int | Sequence[str]) -> None:
        super().__init__()
        count = features if isinstance(features, int) else len(features)
        self.names = [f"feature {index}" for index in range(count)] if isinstance(features, int) else list(features)
        self.register_buffer("input_mean", torch.zeros(count))
        self.register_buffer("input_std", torch.ones(count))
        self.register_buffer("target_mean", torch.zeros(()))
        self.register_buffer("target_std", torch.ones(()))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self._known_fitted = False
        self.register_load_state_dict_post_hook(_check_again)

    @torch.no_grad()
    def fit(self, inputs: Tensor, target: Tensor, chunk: int = 65536) -> None:
        """Compute mean and population standard deviation of each feature and of the target.

        Args:
            inputs: ``[N, F]`` features in physical units.
            target: ``[N]`` voltage in volts.
            chunk: Rows per chunk.

        Raises:
            DataError: If there is no row, the shapes do not match, or a column is non-finite.

        """
        if inputs.ndim != 2 or inputs.shape != (len(target), len(self.names)) or len(target) == 0:
            raise DataError(
                f"scaler: inputs {list(inputs.shape)} and target {list(target.shape)} are not [N, {len(self.names)}] "
                "and [N] with N at least 1; check the features and that the training split has recordings"
            )
        input_mean, input_std = self._statistics(inputs, self.names, chunk)
        target_mean, target_std = self._statistics(target.unsqueeze(1), ["the target"], chunk)
        self.input_mean.copy_(input_mean)
        self.input_std.copy_(input_std)
        self.target_mean.copy_(target_mean[0])
        self.target_std.copy_(target_std[0])
        self.fitted.fill_(True)
        self._known_fitted = True

    def scale_inputs(self, inputs: Tensor) -> Tensor:
        """Scale ``[..., F]`` features from physical units."""
        self._require_fitted()
        return (inputs - self.input_mean) / self.input_std

    def scale_target(self, target: Tensor) -> Tensor:
        """Scale a voltage of any shape from volts."""
        self._require_fitted()
        return (target - self.target_mean) / self.target_std

    def unscale_target(self, scaled: Tensor) -> Tensor:
        """Convert a scaled voltage of any shape to volts."""
        self._require_fitted()
        return scaled * self.target_std + self.target_mean

    def _require_fitted(self) -> None:
        """Refuse to scale without statistics; reads the device once instead of in every step."""
        if self._known_fitted or torch.compiler.is_compiling():
            return
        if not bool(self.fitted):
            raise ConfigurationError(
                "scaler: used before it was fitted; call scaler.fit(inputs, target) on the training recordings, "
                "or load a checkpoint"
            )
        self._known_fitted = True

    @staticmethod
    def _statistics(values: Tensor, names: list[str], chunk: int) -> tuple[Tensor, Tensor]:
        """Compute mean and standard deviation ``[F]`` of every column of ``[N, F]``, in two passes in float64."""
        rows, width = values.shape
        mean = torch.zeros(width, dtype=torch.float64, device=values.device)
        for part in values.split(chunk):
            mean += part.double().sum(0) / rows
        if not bool(torch.isfinite(mean).all()):
            column = names[int((~torch.isfinite(mean)).nonzero()[0])]
            raise DataError(f"scaler: {column} has non-finite values; correct or remove those rows")
        variance = torch.zeros_like(mean)
        for part in values.split(chunk):
            variance += (part.double() - mean).square().sum(0) / rows
        constant = values.amin(0) == values.amax(0)
        for index in constant.nonzero().flatten().tolist():
            _log.warning(
                "%s is constant (%g) in the training data and carries no information; it is centred but not scaled",
                names[index], float(values[0, index]),
            )  # fmt: skip
        return mean, torch.where(constant, 1.0, variance.sqrt())


def _check_again(scaler: Any, incompatible_keys: Any) -> None:
    """Check the loaded statistics at the next use."""
    scaler._known_fitted = False
