"""Define one layer of a recurrent stack."""

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
    """A fused recurrent kernel, followed by layer norm and dropout.

    PyTorch's ``num_layers=2`` supports only equal sizes, no layer norm, and no dropout after the last layer. Each layer
    here therefore has its own single-layer kernel (cuDNN, oneDNN). The recurrence uses the output of the kernel, before
    norm and dropout.

    A single step of a few lanes without gradients, as in a deployed estimator, uses the cell instead of the kernel. The
    arithmetic is the same, without the kernel's preparation, which takes 5 to 15 times as long as the step on a CPU.

    Args:
        cell: Type of the kernel.
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
        """Run a chunk; return the outputs of the ``last`` steps (None for all) and the state of the kernel."""
        # An exported step takes any number of lanes, so the number must not decide.
        few = torch.compiler.is_compiling() or inputs.shape[0] <= _FEW_LANES
        if inputs.shape[1] == 1 and not torch.is_grad_enabled() and few:
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
        """Compute the state after one step of ``[B, F]`` inputs; its first tensor is the output."""
        if self.state_tensors == 2:
            return torch.lstm_cell(inputs, state, *self.kernel.all_weights[0])
        return (torch.gru_cell(inputs, state[0], *self.kernel.all_weights[0]),)

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        size = self.kernel.hidden_size
        return tuple(torch.zeros(batch_size, size, device=device, dtype=dtype) for _ in range(self.state_tensors))
