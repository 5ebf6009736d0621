"""Protocol of a batch sampler that can resume in the middle of an epoch."""

from collections.abc import Iterator
from typing import Protocol, TypeVar

__all__ = ["EpochBatchSampler"]

Index_co = TypeVar("Index_co", covariant=True)


class EpochBatchSampler(Protocol[Index_co]):
    """Batch sampler whose batches depend only on its settings and ``epoch``, so a number is a position."""

    epoch: int

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Index_co]: ...
