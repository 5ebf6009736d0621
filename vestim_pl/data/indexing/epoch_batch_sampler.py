"""What a batch sampler has to offer so that training continues in the middle of an epoch."""

from collections.abc import Iterator
from typing import Protocol, TypeVar

__all__ = ["EpochBatchSampler"]

Index_co = TypeVar("Index_co", covariant=True)


class EpochBatchSampler(Protocol[Index_co]):
    """Batch sampler whose batches depend on its settings and ``epoch`` alone; so a position in an epoch is a number."""

    epoch: int

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Index_co]: ...
