"""Average several networks of the same kind."""

from collections.abc import Sequence
from itertools import islice
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from vestim_pl.networks.network import Network, State

__all__ = ["Ensemble"]


class Ensemble(nn.Module):
    """Networks that are trained from different initial weights and whose mean is the estimate.

    Where the training data are sparse, the members disagree, and their mean is closer to the truth than most members
    (Lakshminarayanan et al., *Simple and scalable predictive uncertainty estimation using deep ensembles*, NeurIPS
    2017).

    In training, the members stay independent: each member estimates its own equal part of the lanes of a batch, first
    to last. Each member therefore has its own error; if only the mean had to fit, members would rely on each other.
    Each member also has its own order of the data if a batch contains one order per member (``sampling.orders``);
    members that see the same batches would share the errors due to that order. The estimator clips the gradient of each
    member separately (`clip_gradients`). AdaptiveGradientClipping does not distinguish members and clips them together.

    Args:
        members: Networks with the protocol `Network`.

    Shape:
        inputs ``[B, L, F]``; state: the states of the members, first to last, in training zero in the lanes of other
        members; output ``[B, L]``, or ``[B, last]``.

    Example::

        >>> from vestim_pl.networks import build_network
        >>> network = build_network({"name": "LSTM", "hidden_sizes": [8], "members": 3}, features=3)
        >>> inputs = torch.zeros(6, 5, 3)
        >>> apart, mean = network.train()(inputs)[0], network.eval()(inputs)[0]
        >>> apart.shape, bool((apart[::2].mean(0) - mean[0]).abs().max() < 1e-6)
        (torch.Size([6, 5]), True)

    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self._tensors = [len(cast("Network", member).zero_state(1)) for member in members]

    def forward(self, inputs: Tensor, state: State | None = None, last: int | None = None) -> tuple[Tensor, State]:
        states = None if state is None else iter(state)
        members = [
            (member, None if states is None else tuple(islice(states, count)))
            for member, count in zip(self.members, self._tensors, strict=True)
        ]
        if self.training:
            return _run_separately(members, inputs, last)
        results = [member(inputs, own, last) for member, own in members]
        voltage = torch.stack([voltage for voltage, _ in results]).mean(0)
        return voltage, tuple(tensor for _, own in results for tensor in own)

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        members = [cast("Network", member) for member in self.members]
        return tuple(tensor for member in members for tensor in member.zero_state(batch_size, device, dtype))


def _run_separately(
    members: Sequence[tuple[nn.Module, State | None]], inputs: Tensor, last: int | None
) -> tuple[Tensor, State]:
    """Run each member on its own part of the lanes; with fewer lanes than members, some members have no lane."""
    lanes, voltages, carried = len(inputs), [], list[Tensor]()
    for index, (member, own) in enumerate(members):
        first, end = index * lanes // len(members), (index + 1) * lanes // len(members)
        if first == end:
            carried += own or cast("Network", member).zero_state(lanes, inputs.device, inputs.dtype)
            continue
        before = None if own is None else tuple(tensor[first:end] for tensor in own)
        voltage, state = member(inputs[first:end], before, last)
        voltages.append(voltage)
        carried += (pad(tensor, [0, 0] * (tensor.ndim - 1) + [first, lanes - end]) for tensor in state)
    return torch.cat(voltages), tuple(carried)
