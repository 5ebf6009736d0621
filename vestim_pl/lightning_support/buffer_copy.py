"""Access to a module's buffers, and a copy of them that undoes what a forward pass changed."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import Module

from vestim_pl.lightning_support.tensor_copies import TensorCopies

__all__ = ["BufferCopy", "Buffers", "buffer_dicts", "put_buffer"]

Buffers = dict[str, Tensor | None]


def buffer_dicts(module: Module) -> list[tuple[str, Buffers]]:
    """List where a module and its submodules keep their buffers, each with the prefix of the names.

    ``named_buffers`` walks through all submodules, which takes longer than a callback's check. The dictionaries stay
    the same, so they can be collected once and show buffers that were replaced or registered since. They are private
    state of torch. Tested with torch 2.13.0.

    Example::

        >>> [(prefix, list(buffers)) for prefix, buffers in buffer_dicts(torch.nn.Sequential(torch.nn.BatchNorm1d(1)))]
        [('', []), ('0.', ['running_mean', 'running_var', 'num_batches_tracked'])]

    """
    return [(f"{path}." if path else "", owner._buffers) for path, owner in module.named_modules()]


def put_buffer(buffers: Buffers, name: str, value: Tensor | None) -> None:
    """Write a value into a buffer, in place if it has the same shape, else by replacing the buffer."""
    current = buffers.get(name)
    if value is not None and current is not None and current.shape == value.shape:
        current.copy_(value)
    else:
        buffers[name] = value


class BufferCopy:
    """Copies the buffers of a module into memory that is allocated once, and restores them.

    A batch with a NaN spoils more than gradients: the running statistics of a BatchNorm stay NaN, because no optimizer
    changes them. Buffers are followed by name, so that a replaced buffer is restored too.

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
        self._places = [(prefix + name, buffers, name) for prefix, buffers in buffer_dicts(module) for name in buffers]
        self._saved: list[Tensor | None] = []
        self._copies = TensorCopies()

    def save(self) -> None:
        """Copy the buffers."""
        self._saved = [buffers.get(name) for _, buffers, name in self._places]
        self._copies.save([buffer for buffer in self._saved if buffer is not None])

    def named(self) -> dict[str, Tensor]:
        """The copies by the names of the buffers."""
        return {path: copy for (path, _, _), copy in self._copied() if copy is not None}

    @torch.no_grad()
    def restore(self) -> None:
        """Write the copies back."""
        for (_, buffers, name), copy in self._copied():
            put_buffer(buffers, name, None if copy is None else copy.clone())

    def _copied(self) -> Iterator[tuple[tuple[str, Buffers, str], Tensor | None]]:
        copies = iter(self._copies.tensors)
        for place, saved in zip(self._places, self._saved, strict=False):
            yield place, None if saved is None else next(copies)
