"""Several networks of one kind whose mean is the estimate."""

from collections.abc import Sequence
from itertools import islice
from typing import cast

import torch
from torch import Tensor, nn

from vestim_pl.networks.network import Network, State

__all__ = ["Ensemble"]


class Ensemble(nn.Module):
    """Networks that learn the same from different initial weights, side by side; the mean of them is the estimate.

    Where the training data say little, members disagree, and their mean is nearer to the truth than most of them
    (Lakshminarayanan et al., *Simple and scalable predictive uncertainty estimation using deep ensembles*, NeurIPS
    2017).
    In training the members stay apart, each with its own error: one that only the mean had to fit would lean on others.

    Args:
        members: Networks that keep the protocol :class:`~vestim_pl.networks.network.Network`.

    Shape:
        inputs ``[B, L, F]``; state: the members' states, first to last; output ``[B, L]``, or ``[B, last]``; in
        training mode that of every member, ``[M, B, L]``.

    Example::

        >>> from vestim_pl.networks import build_network
        >>> network = build_network({"name": "LSTM", "hidden_sizes": [8], "members": 3}, features=3)
        >>> network(torch.zeros(2, 5, 3))[0].shape, network.eval()(torch.zeros(2, 5, 3))[0].shape
        (torch.Size([3, 2, 5]), torch.Size([2, 5]))

    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self._tensors = [len(cast("Network", member).zero_state(1)) for member in members]

    def forward(self, inputs: Tensor, state: State | None = None, last: int | None = None) -> tuple[Tensor, State]:
        """Estimate the scaled voltage of every step; see :class:`~vestim_pl.networks.network.Network`."""
        parts, voltages, carried = iter(state or ()), [], []
        for member, tensors in zip(self.members, self._tensors, strict=True):
            voltage, member_state = member(inputs, tuple(islice(parts, tensors)) if state else None, last)
            voltages.append(voltage)
            carried += member_state
        stacked = torch.stack(voltages)
        return stacked if self.training else stacked.mean(0), tuple(carried)

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """State of ``batch_size`` fresh lanes."""
        members = [cast("Network", member) for member in self.members]
        return tuple(tensor for member in members for tensor in member.zero_state(batch_size, device, dtype))
