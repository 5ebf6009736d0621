"""Batch sampler that joins several orders of the same data."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from vestim_pl.data.indexing.epoch_batch_sampler import EpochBatchSampler

__all__ = ["SideBySideSampler"]

Index = TypeVar("Index", bound="np.ndarray[Any, Any] | tuple[np.ndarray[Any, Any], ...]")


class SideBySideSampler(EpochBatchSampler[Index]):
    """Join the batches of several samplers, so each network of an ensemble has its own part of a batch.

    Networks that see the same batches in the same order share errors that come from the order, and their mean keeps
    them. Here each network sees all data once an epoch, in its own order.

    Args:
        samplers: Samplers of the same data with the same number of batches; their batches are arrays or named tuples
            of arrays, batch first.

    Example::

        >>> from vestim_pl.data import WindowBatchSampler
        >>> sampler = SideBySideSampler([WindowBatchSampler(4, 2, shuffle=False), WindowBatchSampler(4, 2, seed=3)])
        >>> [batch.tolist()[:2] for batch in sampler], [len(batch) for batch in sampler]
        ([[0, 1], [2, 3]], [4, 4])

    """

    def __init__(self, samplers: Sequence[EpochBatchSampler[Index]]) -> None:
        self.samplers = list(samplers)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        for sampler in self.samplers:
            sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.samplers[0])

    def __iter__(self) -> Iterator[Index]:
        for parts in zip(*self.samplers, strict=True):
            yield _join(parts)


def _join(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, tuple):
        return type(first)(*map(np.concatenate, zip(*parts, strict=True)))
    return np.concatenate(parts)
