"""Stack recurrent layers with a linear head and an optional output filter."""

from collections.abc import Sequence
from itertools import islice, pairwise

import torch
from torch import Tensor, nn

from vestim_pl.networks.causal_low_pass import CausalLowPass
from vestim_pl.networks.exponential_smoothing import ExponentialSmoothing
from vestim_pl.networks.initialization import ForgetBias, initialize_linear
from vestim_pl.networks.network import State
from vestim_pl.networks.options import check_dropout, check_hidden_sizes, check_positive
from vestim_pl.networks.perceptron import perceptron
from vestim_pl.networks.precision import full_precision
from vestim_pl.networks.recurrent_layer import Cell, RecurrentLayer

__all__ = ["RecurrentNetwork"]


class RecurrentNetwork(nn.Module):
    """LSTM or GRU layers of the given sizes, a linear head to one voltage per step, and an optional filter over time.

    Args:
        features: Number of input features F.
        cell: Type of every layer.
        hidden_sizes: Sizes of the layers, first to last.
        dropout: Probability that an output of any layer is dropped in training, in [0, 1).
        layer_norm: Whether the outputs of every layer are normalised.
        forget_bias: Initial bias of the gate that keeps the past: ``zero``, ``one``, or ``chrono`` for ``lookback``.
        lookback: Steps of memory that ``chrono`` covers; unused otherwise.
        direct: Hidden sizes of a multilayer perceptron (tanh) from the features of a step to its voltage, which is
            added to that of the head; empty for none. Quantities that depend only on the present, such as the
            open-circuit voltage, can bypass the memory.
        output_filter: Filter of the voltage over time, None for none.

    Shape:
        inputs ``[B, L, F]``; state: the hidden (and cell) states ``[B, H]`` of the layers, first to last, then those of
        the filter; output ``[B, L]``, or ``[B, last]``.

    Head and filter use full precision under autocast too, because bfloat16 has steps of several millivolts.

    Raises:
        ConfigurationError: If an option is out of range.

    Example::

        >>> network = RecurrentNetwork(3, "LSTM", [16, 8], output_filter=ExponentialSmoothing(0.3))
        >>> voltage, state = network(torch.zeros(2, 5, 3))
        >>> voltage.shape, [tuple(tensor.shape) for tensor in state]
        (torch.Size([2, 5]), [(2, 16), (2, 16), (2, 8), (2, 8), (2,), (2,)])

    """

    def __init__(
        self,
        features: int,
        cell: Cell = "LSTM",
        hidden_sizes: Sequence[int] = (32,),
        dropout: float = 0.0,
        layer_norm: bool = False,
        forget_bias: ForgetBias = "zero",
        lookback: int | None = None,
        direct: Sequence[int] = (),
        output_filter: ExponentialSmoothing | CausalLowPass | None = None,
    ) -> None:
        super().__init__()
        self.hidden_sizes = check_hidden_sizes(hidden_sizes)
        check_dropout(dropout)
        widths = (check_positive("features", features), *self.hidden_sizes)
        self._tensors_a_layer = 2 if cell == "LSTM" else 1
        self.layers = nn.ModuleList(
            RecurrentLayer(cell, width, size, dropout, layer_norm, forget_bias, lookback)
            for width, size in pairwise(widths)
        )
        self.head = nn.Linear(widths[-1], 1)
        initialize_linear(self.head)
        self.direct = perceptron(features, check_hidden_sizes(direct, "direct")) if direct else None
        self.output_filter = output_filter

    def forward(self, inputs: Tensor, state: State | None = None, last: int | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.zero_state(inputs.shape[0], inputs.device, inputs.dtype)
        hidden, carried, parts = inputs, [], iter(state)
        for layer in self.layers:
            # Without a filter, the last layer's other steps are unused and need no norm, dropout and head.
            wanted = last if layer is self.layers[-1] and self.output_filter is None else None
            hidden, layer_state = layer(hidden, tuple(islice(parts, self._tensors_a_layer)), wanted)
            carried += [tensor.to(inputs.dtype) for tensor in layer_state]
        with full_precision(inputs):
            voltage = self.head(hidden.to(inputs.dtype)).squeeze(-1)
            if self.direct is not None:
                voltage = voltage + self.direct(inputs[:, -voltage.shape[1] :]).squeeze(-1)
            if self.output_filter is not None:
                voltage, filter_state = self.output_filter(voltage, tuple(parts))
                carried += filter_state
        return voltage if last is None or last >= voltage.shape[1] else voltage[:, -last:], tuple(carried)

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        parts = [*self.layers] if self.output_filter is None else [*self.layers, self.output_filter]
        return tuple(tensor for part in parts for tensor in part.zero_state(batch_size, device, dtype))
