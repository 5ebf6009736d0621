"""Compare an exported model with its estimator, on inputs in the range of the training data."""

from collections.abc import Callable

import torch
from torch import Tensor

from vestim_pl.deploy.checkpoint import copy_estimator
from vestim_pl.errors import VestimError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.networks import State

__all__ = ["example_inputs", "largest_difference", "refuse_difference"]

_TOLERANCE = 1e-5  # of the voltage: 40 microvolts, far below the resolution of a tester


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


@torch.no_grad()
def largest_difference(
    model: Callable[[Tensor, State], tuple[Tensor, State]], estimator: VoltageEstimator, length: int = 50
) -> float:
    """Compute the largest difference in volts between a model and its estimator; NaN if one is non-finite.

    Both run two batch sizes at two lengths each, twice in succession with their own state.

    Args:
        model: Maps inputs and state to voltage and next state, as the estimator does.
        estimator: The estimator; it is not changed.
        length: Steps of the longer inputs.

    """
    reference = copy_estimator(estimator, "cpu")
    differences = []
    for batch in (1, 3):
        for steps in (1, length):
            inputs, state = example_inputs(reference, batch, steps)
            carried = state
            for part in (inputs, inputs.flip(1)):
                volts, carried = model(part, carried)
                expected, state = reference(part, state)
                differences.append((volts - expected).abs().max())
    return float(torch.stack(differences).max())


def refuse_difference(what: str, difference: float, estimator: VoltageEstimator, suggestion: str) -> None:
    """Refuse a model that differs from its estimator by more than float32 rounding.

    Args:
        what: Name of the model.
        difference: Largest difference in volts.
        estimator: The estimator.
        suggestion: What may help.

    Raises:
        VestimError: If it does.

    """
    level = float(estimator.scaler.target_mean.abs() + estimator.scaler.target_std)
    if not difference <= _TOLERANCE * level:
        raise VestimError(
            f"export: {what} differs from the estimator by {difference:g} V, more than float32 rounding; nothing was"
            f" written: {suggestion}"
        )
