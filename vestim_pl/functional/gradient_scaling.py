"""Clip gradients whose norm is already known."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["scale_to_limit"]


def scale_to_limit(gradients: Sequence[Tensor], norm: float, limit: float) -> bool:
    """Scale gradients in place if their norm exceeds the limit, by the same factor as torch.

    Nothing is computed at or below the limit. A non-finite norm changes nothing.

    Args:
        gradients: All gradients that the norm covers; empty if a guard has removed them.
        norm: Norm of the gradients, on the host.
        limit: Largest allowed norm.

    Returns:
        Whether the norm is finite and above the limit.

    Example::

        >>> gradient = torch.tensor([3.0, 4.0])
        >>> scale_to_limit([gradient], norm=5.0, limit=1.0), gradient
        (True, tensor([0.6000, 0.8000]))

    """
    above = math.isfinite(norm) and norm > limit
    if above and gradients:
        # private, and what torch's clip_grad_norm_ calls; torch 2.13.0
        torch._foreach_mul_(list(gradients), limit / (norm + 1e-6))
    return above
