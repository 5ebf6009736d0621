"""Keep parts of a network in full precision under autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["full_precision"]


def full_precision(reference: Tensor) -> AbstractContextManager[object]:
    """Return a context that disables autocast on the device of ``reference``; free if autocast is off already.

    Example::

        >>> weight = torch.ones(2, 2)
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     low = weight @ weight
        ...     with full_precision(weight):
        ...         high = weight @ weight
        >>> low.dtype, high.dtype
        (torch.bfloat16, torch.float32)

    """
    device_type = reference.device.type
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
