"""Initialize the weights of recurrent layers and linear heads."""

from typing import Literal

import torch
from torch import Tensor, nn

from vestim_pl.errors import ConfigurationError

__all__ = ["ForgetBias", "chrono_bias", "initialize_linear", "initialize_recurrent"]

ForgetBias = Literal["zero", "one", "chrono"]


def initialize_linear(layer: nn.Linear) -> None:
    """Set Xavier uniform weights (Glorot & Bengio 2010) and zero bias, in place."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def chrono_bias(size: int, lookback: int) -> Tensor:
    """Draw the chrono bias of a gate that keeps the past: ``log(u)`` with ``u`` uniform in ``[1, lookback - 1]``.

    A gate with this bias forgets over about ``u`` steps, so the units initially cover all time scales up to the
    lookback. Tallec & Ollivier, *Can recurrent neural networks warp time?*, ICLR 2018.

    Raises:
        ConfigurationError: If ``lookback`` is below 3.

    Example::

        >>> bias = chrono_bias(1000, lookback=200)
        >>> bool(bias.min() >= 0), bool(bias.exp().max() <= 199)
        (True, True)

    """
    if lookback < 3:
        raise ConfigurationError(f"network.lookback: {lookback} is too short for forget_bias=chrono; use at least 3")
    return torch.empty(size).uniform_(1, lookback - 1).log()


def initialize_recurrent(
    kernel: nn.LSTM | nn.GRU, forget_bias: ForgetBias = "zero", lookback: int | None = None
) -> None:
    """Initialise a single-layer LSTM or GRU in place, gate by gate.

    Input weights are Xavier uniform and recurrent weights orthogonal (Saxe et al. 2014). Each gate's block is
    initialised separately, so that the fan counts one gate and every recurrent block is orthogonal. All biases are
    zero, except for that of the gate that keeps the past:

    ============ ============================ ==========================================================
    option       LSTM                         GRU
    ============ ============================ ==========================================================
    ``zero``     forget 0                     update 0
    ``one``      forget 1 (Gers et al. 2000)  update 1
    ``chrono``   forget b, input -b           update b; its complement lets new values in, as -b would
    ============ ============================ ==========================================================

    with ``b`` from `chrono_bias`. In PyTorch's GRU, ``h = (1 - z) n + z h_before``: the update gate *keeps* the old
    state, so the sign is opposite to that in the paper. PyTorch adds two biases, ``bias_ih`` and ``bias_hh``; only the
    first one is set, so the effective bias is the one in the table.

    Args:
        kernel: Single-layer, unidirectional ``nn.LSTM`` or ``nn.GRU``.
        forget_bias: Initial bias of the gate that keeps the past.
        lookback: Steps for ``chrono``; unused otherwise.

    Raises:
        ConfigurationError: If ``forget_bias`` is ``chrono`` and no ``lookback`` is given.

    Example::

        >>> layer = nn.LSTM(3, 4, batch_first=True)
        >>> initialize_recurrent(layer, "one")
        >>> (layer.bias_ih_l0 + layer.bias_hh_l0).chunk(4)[1]  # input, forget, cell, output
        tensor([1., 1., 1., 1.], grad_fn=<SplitBackward0>)

    """
    gates = 4 if isinstance(kernel, nn.LSTM) else 3
    input_weight, recurrent_weight, bias, second_bias = kernel.parameters()
    with torch.no_grad():
        for input_block, recurrent_block in zip(input_weight.chunk(gates), recurrent_weight.chunk(gates), strict=True):
            nn.init.xavier_uniform_(input_block)
            nn.init.orthogonal_(recurrent_block)
        nn.init.zeros_(bias)
        nn.init.zeros_(second_bias)
        admit, keep = bias.chunk(gates)[:2]  # LSTM: input, forget; GRU: reset, update
        if forget_bias == "one":
            keep.fill_(1.0)
        elif forget_bias == "chrono":
            if lookback is None:
                raise ConfigurationError(
                    "network.forget_bias: chrono needs to know the lookback to cover; set network.lookback, in steps"
                )
            spread = chrono_bias(kernel.hidden_size, lookback)
            keep.copy_(spread)
            if isinstance(kernel, nn.LSTM):
                admit.copy_(-spread)
