"""The one protocol that every network keeps."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Network", "State"]

State = tuple[Tensor, ...]
"""What a network carries from one chunk of a recording to the next: tensors ``[B, ...]``, batch first.

A lane that is zero in all of them is fresh: it has seen no data yet. So a lane is reset by writing zeros into it.
"""


@runtime_checkable
class Network(Protocol):
    """A causal network over time whose state can be carried on.

    Feeding a recording in chunks of any sizes, with the state handed on, equals feeding it whole. That makes truncated
    backpropagation through time, streamed evaluation and the deployed step-by-step estimator the same computation.

    Example::

        >>> from vestim_pl.networks import build_network
        >>> network = build_network({"name": "LSTM", "hidden_sizes": [8]}, features=3)
        >>> isinstance(network, Network)
        True
        >>> voltage, state = network(torch.zeros(2, 5, 3))
        >>> voltage.shape
        torch.Size([2, 5])

    """

    def forward(self, inputs: Tensor, state: State | None = None, last: int | None = None) -> tuple[Tensor, State]:
        """Estimate the scaled voltage of every step.

        Args:
            inputs: ``[B, L, F]`` scaled features, L at least 1.
            state: State after the step before the first one; None is the zero state.
            last: Number of last steps to estimate, where the others are only lived through: a window asks for one.
                None is all.

        Returns:
            ``[B, L]`` scaled voltage, or ``[B, last]``, and the state after the last step.

        """
        ...

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """State of ``batch_size`` fresh lanes."""
        ...

    def __call__(self, inputs: Tensor, state: State | None = None, last: int | None = None) -> tuple[Tensor, State]:
        """As `forward`, with module hooks."""
        ...
