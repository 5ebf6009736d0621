"""One layer of a recurrent stack."""

from typing import Literal

import torch
from torch import Tensor, nn

from vestim_pl.networks.gru_layer import GRULayer
from vestim_pl.networks.initialization import ForgetBias, initialize_recurrent
from vestim_pl.networks.network import State

__all__ = ["Cell", "RecurrentLayer"]

Cell = Literal["LSTM", "GRU"]

_FEW_LANES = 16


class RecurrentLayer(nn.Module):
    """One fused recurrent kernel, then layer norm, then dropout.

    PyTorch's own ``num_layers=2`` has equal sizes only, no layer norm, and no dropout after the last layer; hence one
    single-layer kernel (cuDNN, oneDNN) a layer, and the rest around it. The recurrence itself runs on the kernel's own
    output, before norm and dropout.

    A single step of few lanes without gradients, which is what a deployed estimator computes, takes the cell instead of
    the kernel: the same arithmetic without the kernel's preparations, which cost 5-15 times the step itself on CPU.

    Args:
        cell: Kind of kernel.
        input_size: Features F of the input.
        hidden_size: Hidden size H.
        dropout: Probability that an output is dropped in training, in [0, 1).
        layer_norm: Whether outputs are normalised over the hidden units (Ba et al. 2016).
        forget_bias: See `initialize_recurrent`.
        lookback: Steps for ``forget_bias="chrono"``.

    Shape:
        inputs ``[B, L, F]``; state ``(h [B, H], c [B, H])`` for LSTM and ``(h [B, H],)`` for GRU; output ``[B, L, H]``.

    Example::

        >>> layer = RecurrentLayer("GRU", 3, 8, layer_norm=True)
        >>> output, state = layer(torch.zeros(2, 5, 3), layer.zero_state(2))
        >>> output.shape, [tuple(tensor.shape) for tensor in state]
        (torch.Size([2, 5, 8]), [(2, 8)])

    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        dropout: float = 0.0,
        layer_norm: bool = False,
        forget_bias: ForgetBias = "zero",
        lookback: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel = (
            nn.LSTM(input_size, hidden_size, batch_first=True) if cell == "LSTM" else GRULayer(input_size, hidden_size)
        )
        self.norm = nn.LayerNorm(hidden_size) if layer_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.state_tensors = 2 if cell == "LSTM" else 1
        initialize_recurrent(self.kernel, forget_bias, lookback)

    def forward(self, inputs: Tensor, state: State, last: int | None = None) -> tuple[Tensor, State]:
        """Run a chunk and hand on the kernel's state; outputs of the ``last`` steps only, or of all."""
        if inputs.shape[1] == 1 and not torch.is_grad_enabled() and inputs.shape[0] <= _FEW_LANES:
            carried = self._single_step(inputs[:, 0], state)
            output = carried[0].unsqueeze(1)
        elif self.state_tensors == 2:
            output, (hidden, cell) = self.kernel(inputs, (state[0].unsqueeze(0), state[1].unsqueeze(0)))
            carried = (hidden.squeeze(0), cell.squeeze(0))
        else:
            output, hidden = self.kernel(inputs, state[0].unsqueeze(0))
            carried = (hidden.squeeze(0),)
        if last is not None and last < inputs.shape[1]:
            output = output[:, -last:]
        return self.dropout(self.norm(output)), carried

    def _single_step(self, inputs: Tensor, state: State) -> State:
        """State after one step of ``[B, F]`` inputs; its first tensor is the output."""
        if self.state_tensors == 2:
            return torch.lstm_cell(inputs, state, *self.kernel.all_weights[0])
        return (torch.gru_cell(inputs, state[0], *self.kernel.all_weights[0]),)

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """State of fresh lanes."""
        size = self.kernel.hidden_size
        return tuple(torch.zeros(batch_size, size, device=device, dtype=dtype) for _ in range(self.state_tensors))
