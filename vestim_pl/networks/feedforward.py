"""Provide a feed-forward baseline without learned memory."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vestim_pl.networks.initialization import initialize_linear
from vestim_pl.networks.network import State
from vestim_pl.networks.options import check_dropout, check_hidden_sizes, check_positive
from vestim_pl.networks.precision import full_precision

__all__ = ["FeedForwardNetwork"]


class FeedForwardNetwork(nn.Module):
    """The same multilayer perceptron at every step, applied to the last ``history`` samples.

    A recurrent network has to beat this baseline. With ``history=1``, it maps current, temperature and state of charge
    to voltage without any memory. A fresh lane starts as if its first sample had always been present.

    Args:
        features: Number of input features F.
        hidden_sizes: Sizes of the hidden layers, first to last.
        dropout: Probability that an output of a hidden layer is dropped in training, in [0, 1).
        layer_norm: Whether hidden layers are normalised before their activation.
        history: Number of input samples, including the newest; 1 for no memory.

    Shape:
        inputs ``[B, L, F]``; state ``(past [B, history - 1, F], started [B])``, all zero where a lane is fresh; output
        ``[B, L]``.

    Raises:
        ConfigurationError: If an option is out of range.

    Example::

        >>> network = FeedForwardNetwork(3, [16], history=4)
        >>> voltage, state = network(torch.zeros(2, 5, 3))
        >>> voltage.shape, [tuple(tensor.shape) for tensor in state]
        (torch.Size([2, 5]), [(2, 3, 3), (2,)])

    """

    def __init__(
        self,
        features: int,
        hidden_sizes: Sequence[int] = (32,),
        dropout: float = 0.0,
        layer_norm: bool = False,
        history: int = 1,
    ) -> None:
        super().__init__()
        self.features = check_positive("features", features)
        self.history = check_positive("history", history)
        self.hidden_sizes = check_hidden_sizes(hidden_sizes)
        check_dropout(dropout)
        modules: list[nn.Module] = []
        for width, size in pairwise((features * history, *self.hidden_sizes)):
            norm = [nn.LayerNorm(size)] if layer_norm else []
            modules += [nn.Linear(width, size), *norm, nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*modules)
        self.head = nn.Linear(self.hidden_sizes[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                initialize_linear(module)

    def forward(self, inputs: Tensor, state: State | None = None, last: int | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.zero_state(inputs.shape[0], inputs.device, inputs.dtype)
        past, started = state
        past = torch.where(started.view(-1, 1, 1) > 0, past, inputs[:, :1])
        samples = torch.cat([past, inputs], dim=1)
        read = samples if last is None else samples[:, -(self.history - 1 + last) :]
        hidden = self.layers(read.unfold(1, self.history, 1).flatten(2))
        with full_precision(inputs):
            voltage = self.head(hidden.to(inputs.dtype)).squeeze(-1)
        # A copy, so that a carried state does not keep the whole chunk in memory.
        return voltage, (samples[:, inputs.shape[1] :].clone(), torch.ones_like(started))

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        past = torch.zeros(batch_size, self.history - 1, self.features, device=device, dtype=dtype)
        return past, torch.zeros(batch_size, device=device, dtype=dtype)
