"""A network that reads only some of the inputs."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vestim_pl.networks.network import Network, State

__all__ = ["InputSelection"]


class InputSelection(nn.Module):
    """Hands some of the inputs on to a network, so that networks of an ensemble can differ in what they read.

    That is the idea of random subspaces (Ho, *The random subspace method for constructing decision forests*, IEEE TPAMI
    1998), with inputs that are chosen. What it brought is in ``docs/performance.md``.

    Args:
        network: Network of as many inputs as are read.
        places: Which of the inputs they are.

    Shape:
        inputs ``[B, L, F]`` of which the network reads ``[B, L, len(places)]``; state and output are the network's.

    Example::

        >>> from vestim_pl.networks import build_network
        >>> network = build_network({"name": "LSTM", "ignore": ["Temp"]}, ["SOC", "Current", "Temp"])
        >>> network.network.layers[0].kernel.input_size
        2

    """

    def __init__(self, network: nn.Module, places: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.places = list(places)

    def forward(self, inputs: Tensor, state: State | None = None, last: int | None = None) -> tuple[Tensor, State]:
        """Estimate the scaled voltage of every step; see :class:`~vestim_pl.networks.network.Network`."""
        read = torch.stack([inputs[..., place] for place in self.places], dim=-1)
        result: tuple[Tensor, State] = self.network(read, state, last)
        return result

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """State of ``batch_size`` fresh lanes."""
        return cast("Network", self.network).zero_state(batch_size, device, dtype)
