"""Filter a network's output with an exponential moving average with a learnable weight."""

import math

import torch
from torch import Tensor, nn

from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.filters import exponential_smoothing
from vestim_pl.networks.network import State

__all__ = ["ExponentialSmoothing"]


class ExponentialSmoothing(nn.Module):
    r"""Smooth a network's output over time: :math:`y_t = (1 - a)\, y_{t-1} + a\, r_t`.

    The weight ``a`` is learned through its logit, so it stays between 0 and 1, and a small weight changes in proportion
    to itself. A fresh lane starts from its first sample (:math:`y_{-1} = r_0`) instead of zero, so there is no
    transient at the start of a recording.

    Args:
        smoothing: Initial weight ``a`` of the newest sample, above 0 and below 1; smaller values smooth more.

    Shape:
        signal ``[B, L]``; state ``(level [B], started [B])``, all zero where a lane is fresh; output ``[B, L]``.

    Raises:
        ConfigurationError: If ``smoothing`` is not strictly between 0 and 1.

    Example::

        >>> head = ExponentialSmoothing(0.5)
        >>> smooth, state = head(torch.tensor([[4.0, 0.0, 0.0]]), head.zero_state(1))
        >>> smooth.tolist(), head(torch.zeros(1, 1), state)[0].item()
        ([[4.0, 2.0, 1.0]], 0.5)

    """

    def __init__(self, smoothing: float = 0.5) -> None:
        super().__init__()
        if not 0 < smoothing < 1:
            raise ConfigurationError(f"network.smoothing: {smoothing} is not strictly between 0 and 1; try 0.5")
        self.logit = nn.Parameter(torch.tensor(math.log(smoothing) - math.log1p(-smoothing)))

    @property
    def alpha(self) -> Tensor:
        """Weight ``a`` of the newest sample, ``[]``."""
        return self.logit.sigmoid()

    def forward(self, signal: Tensor, state: State) -> tuple[Tensor, State]:
        """Smooth a chunk and return it with its last value."""
        level, started = state
        initial = torch.where(started > 0, level, signal[:, 0])
        smooth = exponential_smoothing(signal, self.alpha, initial)
        # A copy, so that a carried state does not keep the whole chunk in memory.
        return smooth, (smooth[:, -1].clone(), torch.ones_like(started))

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        zeros = torch.zeros(batch_size, device=device, dtype=dtype)
        return zeros, zeros.clone()
