"""Define the protocol of all networks."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Network", "State"]

State = tuple[Tensor, ...]
"""State that a network carries from one chunk of a recording to the next: tensors ``[B, ...]``, batch first.

A lane that is zero in all tensors is fresh, which means that it has seen no data. Writing zeros resets a lane.
"""


@runtime_checkable
class Network(Protocol):
    """A causal network over time whose state can be carried from chunk to chunk.

    Feeding a recording in chunks of any size, with the state carried over, equals feeding it whole. Truncated
    backpropagation through time, streamed evaluation and the deployed step-by-step estimator are therefore the same
    computation.

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
            state: State before the first step; None for the zero state.
            last: Number of last steps to estimate, 1 for a window; None for all.

        Returns:
            ``[B, L]`` scaled voltage, or ``[B, last]``, and the state after the last step.

        """
        ...

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Return the state of ``batch_size`` fresh lanes."""
        ...

    def __call__(self, inputs: Tensor, state: State | None = None, last: int | None = None) -> tuple[Tensor, State]:
        """Call `forward` with module hooks."""
        ...
