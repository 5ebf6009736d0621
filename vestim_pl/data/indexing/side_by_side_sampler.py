"""Several orders of the same data at once, joined batch by batch."""

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from torch.utils.data import Sampler

from vestim_pl.data.indexing.epoch_batch_sampler import EpochBatchSampler

__all__ = ["SideBySideSampler"]

Index = TypeVar("Index", bound="np.ndarray[Any, Any] | tuple[np.ndarray[Any, Any], ...]")


class SideBySideSampler(Sampler[Index], Generic[Index]):
    """Joins what several samplers name for a batch, first to last, so that each member of an ensemble has its own part.

    An ensemble whose members see the same batches in the same order has errors of that order in common, which their
    mean keeps. Here every member goes through all of the data once an epoch, in an order of its own.

    Args:
        samplers: Samplers of the same data, with as many batches as each other, whose batches are arrays or named
            tuples of arrays, batch first.

    Example::

        >>> from vestim_pl.data import WindowBatchSampler
        >>> sampler = SideBySideSampler([WindowBatchSampler(4, 2, shuffle=False), WindowBatchSampler(4, 2, seed=3)])
        >>> [batch.tolist()[:2] for batch in sampler], [len(batch) for batch in sampler]
        ([[0, 1], [2, 3]], [4, 4])

    """

    def __init__(self, samplers: Sequence[EpochBatchSampler[Index]]) -> None:
        self.samplers = list(samplers)

    @property
    def sampler(self) -> "SideBySideSampler[Index]":
        """The sampler itself: Lightning calls ``set_epoch`` on ``loader.batch_sampler.sampler``."""
        return self

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration."""
        return self.samplers[0].epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose orders the next iteration has."""
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
