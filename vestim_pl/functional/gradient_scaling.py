"""Clipping a gradient whose norm is known already."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["scale_to_limit"]


def scale_to_limit(gradients: Sequence[Tensor], norm: float, limit: float) -> bool:
    """Scale gradients down to a limit where their norm is above it, in place, by the factor that torch takes.

    Nothing is computed where the limit does not engage; a norm that is not finite changes nothing.

    Args:
        gradients: All gradients that the norm is of; none where a guard has taken them away.
        norm: Their norm, on the host.
        limit: Largest norm that is left.

    Returns:
        Whether the norm is above the limit.

    Example::

        >>> gradient = torch.tensor([3.0, 4.0])
        >>> scale_to_limit([gradient], norm=5.0, limit=1.0), gradient
        (True, tensor([0.6000, 0.8000]))

    """
    above = math.isfinite(norm) and norm > limit
    if above and gradients:
        torch._foreach_mul_(list(gradients), limit / (norm + 1e-6))
    return above
