"""Make inputs in the range of the training data, to compare an exported model with its estimator."""

import torch
from torch import Tensor

from vestim_pl.estimator import VoltageEstimator
from vestim_pl.networks import State

__all__ = ["TOLERANCE", "example_inputs", "voltage_level"]

TOLERANCE = 1e-5  # of the voltage: 40 microvolts, far below the resolution of a tester


def example_inputs(estimator: VoltageEstimator, batch: int, length: int) -> tuple[Tensor, State]:
    """Draw inputs with the mean and spread of the training data, always the same ones.

    Args:
        estimator: The trained estimator.
        batch: Number of cells B.
        length: Number of steps L.

    Returns:
        ``[B, L, F]`` features in physical units on the CPU, and the state of new cells.

    """
    scaler = estimator.scaler
    features = len(estimator.hparams["features"])  # the scaler also has RC pairs, which the estimator computes
    noise = torch.randn(batch, length, features, generator=torch.Generator().manual_seed(0))
    inputs = scaler.input_mean[:features].cpu() + scaler.input_std[:features].cpu() * noise
    return inputs, estimator.zero_state(batch)


def voltage_level(estimator: VoltageEstimator) -> float:
    """Return the size of the estimated voltages, to which rounding is relative, in volts."""
    return float(estimator.scaler.target_mean.abs() + estimator.scaler.target_std)
