"""Define the batch type of all training and evaluation modes."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["SequenceBatch"]


class SequenceBatch(NamedTuple):
    """A batch of sequences in physical units, for both windows (sequence to one) and streams (truncated BPTT).

    One ``training_step`` serves both: ``weight`` selects the steps that count in the loss, and ``fresh`` the lanes that
    start from the zero state instead of the carried one.

    Shape legend: B batch (or lanes), L steps, F features, T last steps that are estimated (1 in a window, L in a
    stream).

    Attributes:
        inputs: ``[B, L, F]`` features in physical units (amperes, degC, SOC 0..1, ...).
        target: ``[B, T]`` measured terminal voltage of the last T steps, in volts.
        weight: ``[B, T]`` 1 where a step counts in loss and metrics, 0 in burn-in and padding.
        fresh: ``[B]`` bool, true where a lane starts from the zero state; always true in windows (T < L).
        first_row: ``[B]`` int64 row of the split's table at which the sequence starts, -1 for an empty lane. It lets
            error messages name the recording and the time.

    Example::

        >>> batch = SequenceBatch.of(torch.zeros(2, 5, 3), torch.zeros(2, 5))
        >>> batch.weight.sum().item(), batch.fresh.tolist()
        (10.0, [True, True])

    """

    inputs: Tensor
    target: Tensor
    weight: Tensor
    fresh: Tensor
    first_row: Tensor

    @classmethod
    def of(cls, inputs: Tensor, target: Tensor) -> "SequenceBatch":
        """Build a batch from ``[B, L, F]`` and ``[B, L]`` in which every step counts and every lane is fresh."""
        lanes = inputs.shape[0]
        fresh = torch.ones(lanes, dtype=torch.bool, device=inputs.device)
        first_row = torch.full((lanes,), -1, dtype=torch.int64, device=inputs.device)
        return cls(inputs, target, torch.ones_like(target), fresh, first_row)
