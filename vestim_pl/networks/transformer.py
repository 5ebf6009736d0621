"""Stack layers of causal attention with a linear head."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vestim_pl.errors import ConfigurationError
from vestim_pl.networks.attention import AttentionLayer
from vestim_pl.networks.initialization import initialize_linear
from vestim_pl.networks.network import State
from vestim_pl.networks.options import check_dropout, check_hidden_sizes, check_positive
from vestim_pl.networks.perceptron import perceptron
from vestim_pl.networks.precision import full_precision

__all__ = ["TransformerNetwork"]


class TransformerNetwork(nn.Module):
    """A causal Transformer whose layers attend to the last ``lookback`` steps, with a linear head to one voltage.

    Positions are relative: only the distance of two steps counts (`decay_rates`). The carried state is a bounded cache
    of keys and values, so every step of a stream costs the same no matter how long the stream runs, and chunks of any
    size equal one pass.

    Each layer looks back ``lookback`` steps from its own inputs, so N layers reach ``N x (lookback - 1)`` steps before
    the current one. A window of ``sampling.lookback`` steps and a stream therefore agree exactly only if
    ``sampling.lookback`` is above ``N x (network.lookback - 1)``, with one layer or a smaller ``network.lookback``.
    Otherwise the deeper layers of a stream also use steps before the window.

    Args:
        features: Number of input features F.
        hidden_sizes: Sizes of the layers, first to last.
        heads: Number of attention heads per layer; a divisor of each size.
        feedforward: Hidden size of each layer's perceptron, in multiples of the layer's size.
        dropout: Probability that a feature of a residual branch is dropped in training, in [0, 1).
        layer_norm: Must be true, because layers always normalise their inputs.
        lookback: Steps that a step attends to, including itself.
        direct: Hidden sizes of a multilayer perceptron (tanh) from the features of a step to its voltage, which is
            added to that of the head; empty for none.

    Shape:
        inputs ``[B, L, F]``; state: number of steps seen ``[B]``, at most ``lookback - 1``, then the cache of each
        layer ``[B, lookback - 1, 2 D]``; output ``[B, L]``, or ``[B, last]``.

    The last norm and the head use full precision under autocast too, because bfloat16 has steps of several millivolts.

    Raises:
        ConfigurationError: If an option is out of range.

    Example::

        >>> network = TransformerNetwork(3, [16, 8], lookback=20)
        >>> voltage, state = network(torch.zeros(2, 5, 3))
        >>> voltage.shape, [tuple(tensor.shape) for tensor in state], state[0].tolist()
        (torch.Size([2, 5]), [(2,), (2, 19, 32), (2, 19, 16)], [5.0, 5.0])

    """

    def __init__(
        self,
        features: int,
        hidden_sizes: Sequence[int] = (32,),
        heads: int = 4,
        feedforward: int = 2,
        dropout: float = 0.0,
        layer_norm: bool = True,
        lookback: int = 200,
        direct: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.hidden_sizes = check_hidden_sizes(hidden_sizes)
        self.lookback = check_positive("lookback", lookback)
        _check_heads(check_positive("heads", heads), self.hidden_sizes)
        if not layer_norm:
            raise ConfigurationError(
                "network.layer_norm: false, but the layers of a Transformer always normalise their inputs; use "
                "network.layer_norm=true"
            )
        widths = (check_positive("features", features), *self.hidden_sizes)
        depth, multiple = len(self.hidden_sizes), check_positive("feedforward", feedforward)
        self.embedding = nn.Linear(features, self.hidden_sizes[0])
        self.layers = nn.ModuleList(
            AttentionLayer(width, size, heads, multiple, check_dropout(dropout), lookback, depth)
            for width, size in pairwise((self.hidden_sizes[0], *self.hidden_sizes))
        )
        self.norm, self.head = nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], 1)
        for linear in (self.embedding, self.head):
            initialize_linear(linear)
        self.direct = perceptron(features, check_hidden_sizes(direct, "direct")) if direct else None

    def forward(self, inputs: Tensor, state: State | None = None, last: int | None = None) -> tuple[Tensor, State]:
        missing = None
        caches: Sequence[Tensor | None] = [None] * len(self.layers)  # without a state, there are no earlier steps
        seen = inputs.new_zeros(inputs.shape[0])
        if state is not None:
            seen, *caches = state
            missing = self.lookback - 1 - seen
        hidden, carried = self.embedding(inputs), []
        for layer, cache in zip(self.layers, caches, strict=True):
            # No deeper layer needs the other steps of the last layer.
            wanted = last if layer is self.layers[-1] else None
            hidden, kept = layer(hidden, cache, missing, wanted)
            carried.append(kept.to(inputs.dtype))
        with full_precision(inputs):
            voltage = self.head(self.norm(hidden.to(inputs.dtype))).squeeze(-1)
            if self.direct is not None:
                voltage = voltage + self.direct(inputs[:, -voltage.shape[1] :]).squeeze(-1)
        return voltage, ((seen + inputs.shape[1]).clamp(max=self.lookback - 1), *carried)

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        seen = torch.zeros(batch_size, device=device, dtype=dtype)
        shapes = ((batch_size, self.lookback - 1, 2 * size) for size in self.hidden_sizes)
        return seen, *(torch.zeros(shape, device=device, dtype=dtype) for shape in shapes)


def _check_heads(heads: int, hidden_sizes: Sequence[int]) -> None:
    """Refuse heads that do not divide a layer's size, or that have only one feature, which has no direction."""

    def fits(count: int) -> bool:
        return all(size % count == 0 and size >= 2 * count for size in hidden_sizes)

    if fits(heads):
        return
    if fitting := max((count for count in range(1, heads) if fits(count)), default=0):
        suggestion = f"use network.heads={fitting}, or sizes that are multiples of {heads} and at least {2 * heads}"
    else:
        suggestion = f"use sizes that are multiples of {heads} and at least {2 * heads}"
    raise ConfigurationError(
        f"network.heads: {heads} heads cannot divide layers of sizes {list(hidden_sizes)} into equal parts of at least"
        f" two features; {suggestion}"
    )
