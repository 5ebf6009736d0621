"""Provide a GRU kernel that is fast on the CPU."""

import torch
from torch import Tensor, nn

from vestim_pl.functional.gated_recurrence import gated_recurrence

__all__ = ["GRULayer"]

_MIN_STEPS = 4  # for fewer steps, the preparation costs more than the faster loop saves


class GRULayer(nn.GRU):
    """Single-layer, batch-first ``nn.GRU`` with a faster CPU path.

    PyTorch has a oneDNN kernel for the LSTM but not for the GRU. This layer runs `gated_recurrence` on the CPU, and
    PyTorch's kernel in all other cases: on other devices (cuDNN), in ``torch.compile``, tracing and export, and for
    fewer than four steps. Parameters, state dict, values and gradients equal those of ``nn.GRU``, but the CPU path
    supports no second derivatives.

    With 16 lanes x 100 steps and 32 hidden units (one thread, forward and backward), PyTorch's GRU took 7 times as long
    as an LSTM of the same size; this one takes 2 to 3 times as long. Measure it on your machine with
    ``python scripts/benchmarks/gru_kernel.py``.

    Args:
        input_size: Features F of the input.
        hidden_size: Hidden size H.

    Shape:
        input ``[B, L, F]``, hx ``[1, B, H]``; output ``[B, L, H]`` and ``[1, B, H]``.

    Example::

        >>> layer, reference = GRULayer(3, 4), nn.GRU(3, 4, batch_first=True)
        >>> _ = layer.load_state_dict(reference.state_dict())
        >>> inputs = torch.randn(2, 5, 3)
        >>> torch.allclose(layer(inputs)[0], reference(inputs)[0], atol=1e-6)
        True

    """

    computes_as_base = True  # lets probes and replays run it step by step as an nn.GRU

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, batch_first=True)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # noqa: A002
        captured = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if input.device.type != "cpu" or captured or input.shape[1] < _MIN_STEPS:
            output, hidden = super().forward(input, hx)
            return output, hidden
        if hx is None:
            hx = input.new_zeros(1, len(input), self.hidden_size)
        output = gated_recurrence(input, hx[0], *self.all_weights[0])
        # A copy, so that a carried state does not keep the whole chunk in memory.
        return output, output[:, -1].unsqueeze(0).clone()
