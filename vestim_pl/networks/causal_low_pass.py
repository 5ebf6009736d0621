"""Filter a network's output with a causal low-pass with learnable taps."""

import math

import torch
from torch import Tensor, nn

from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.filters import causal_fir
from vestim_pl.networks.network import State

__all__ = ["CausalLowPass"]


class CausalLowPass(nn.Module):
    r"""Average a network's output over its last samples: :math:`y_t = \sum_{k<K} w_k\, r_{t-k}`.

    The weights are a softmax of learned logits. They are positive and sum to one, so a constant passes unchanged (unit
    gain at direct current) and nothing is amplified. They start as powers of one half, because equal weights would
    start with a delay of half the filter length. A fresh lane starts as if its first sample had always been present.

    Args:
        taps: Number of averaged samples K, at least 1; 1 does not filter.

    Shape:
        signal ``[B, L]``; state ``(history [B, K - 1], started [B])``, all zero where a lane is fresh; output
        ``[B, L]``.

    Raises:
        ConfigurationError: If ``taps`` is below 1.

    Example::

        >>> head = CausalLowPass(taps=2)
        >>> smooth, state = head(torch.tensor([[3.0, 0.0, 0.0]]), head.zero_state(1))
        >>> [round(value, 4) for value in smooth[0].tolist()]
        [3.0, 1.0, 0.0]

    """

    def __init__(self, taps: int = 8) -> None:
        super().__init__()
        if taps < 1:
            raise ConfigurationError(f"network.taps: {taps} is not positive; use at least 1")
        self.tap_logits = nn.Parameter(-math.log(2) * torch.arange(taps, dtype=torch.get_default_dtype()))

    @property
    def taps(self) -> Tensor:
        """Weights ``[K]``, from the newest sample to the oldest."""
        return self.tap_logits.softmax(0)

    def forward(self, signal: Tensor, state: State) -> tuple[Tensor, State]:
        """Filter a chunk and return it with its last samples."""
        history, started = state
        history = torch.where(started.unsqueeze(1) > 0, history, signal[:, :1])
        smooth = causal_fir(signal, self.taps, history)
        recent = torch.cat([history, signal], dim=1)[:, signal.shape[1] :]
        # A copy, so that a carried state does not keep the whole chunk in memory.
        return smooth, (recent.clone(), torch.ones_like(started))

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        history = torch.zeros(batch_size, len(self.tap_logits) - 1, device=device, dtype=dtype)
        return history, torch.zeros(batch_size, device=device, dtype=dtype)
