"""A copy of a module's buffers, to undo what a forward pass left in them."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import Module

from vestim_pl.lightning_support.tensor_copies import TensorCopies

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
        self._places = [
            (f"{path}.{name}" if path else name, owner._buffers, name)
            for path, owner in module.named_modules()
            for name in owner._buffers
        ]
        self._saved: list[Tensor | None] = []
        self._copies = TensorCopies()

    def save(self) -> None:
        """Copy the buffers as they are now."""
        self._saved = [buffers.get(name) for _, buffers, name in self._places]
        self._copies.save([buffer for buffer in self._saved if buffer is not None])

    def named(self) -> dict[str, Tensor]:
        """The buffers by name, as copied."""
        return {path: copy for (path, _, _), copy in self._copied() if copy is not None}

    @torch.no_grad()
    def restore(self) -> None:
        """Put the last copy back, in place where the shape allows it."""
        for (_, buffers, name), copy in self._copied():
            buffer = buffers.get(name)
            if copy is not None and buffer is not None and buffer.shape == copy.shape:
                buffer.copy_(copy)
            else:
                buffers[name] = None if copy is None else copy.clone()

    def _copied(self) -> Iterator[tuple[tuple[str, dict[str, Tensor | None], str], Tensor | None]]:
        copies = iter(self._copies.tensors)
        for place, saved in zip(self._places, self._saved, strict=False):
            yield place, None if saved is None else next(copies)
