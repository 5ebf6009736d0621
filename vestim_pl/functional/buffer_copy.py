"""A copy of a module's buffers, to undo what a forward pass left in them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

__all__ = ["BufferCopy"]


class BufferCopy:
    """Copies the buffers of a module, into memory allocated once, and puts them back.

    A batch with a NaN poisons more than gradients: running statistics of a BatchNorm stay NaN for good, although no
    optimizer ever touches them. Buffers that are replaced rather than written to are followed by name.

    Example::

        >>> norm = torch.nn.BatchNorm1d(1)
        >>> copy = BufferCopy(norm)
        >>> copy.save()
        >>> _ = norm(torch.tensor([[1.0], [float("nan")]]))
        >>> copy.restore()
        >>> norm.running_mean.item()
        0.0

    """

    def __init__(self, module: Module) -> None:
        self._places = [(owner, name) for owner in module.modules() for name in owner._buffers]
        self._copies: list[Tensor | None] = []

    @torch.no_grad()
    def save(self) -> None:
        """Copy the buffers as they are now."""
        live = [owner._buffers.get(name) for owner, name in self._places]
        if [_kind(buffer) for buffer in live] == [_kind(copy) for copy in self._copies]:
            pairs = [(c, b) for c, b in zip(self._copies, live, strict=True) if c is not None and b is not None]
            if pairs:
                torch._foreach_copy_([copy for copy, _ in pairs], [buffer for _, buffer in pairs])
        else:
            self._copies = [None if buffer is None else buffer.detach().clone() for buffer in live]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the last copy back, in place where the shape allows it."""
        for (owner, name), copy in zip(self._places, self._copies, strict=False):
            buffer = owner._buffers.get(name)
            if copy is not None and buffer is not None and buffer.shape == copy.shape:
                buffer.copy_(copy)
            else:
                owner._buffers[name] = None if copy is None else copy.clone()


def _kind(tensor: Tensor | None) -> tuple[Any, ...]:
    """What a copy must have in common with the tensor to be written to in place."""
    return () if tensor is None else (tensor.shape, tensor.dtype, tensor.device)
