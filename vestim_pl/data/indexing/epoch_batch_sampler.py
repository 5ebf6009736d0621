"""Batch sampler that can resume in the middle of an epoch."""

from typing import TypeVar

from torch.utils.data import Sampler

__all__ = ["EpochBatchSampler"]

Index_co = TypeVar("Index_co", covariant=True)


class EpochBatchSampler(Sampler[Index_co]):
    """Base of batch samplers whose batches depend only on settings and ``epoch``, so a number is a position."""

    epoch = 0

    @property
    def sampler(self) -> "EpochBatchSampler[Index_co]":
        """The sampler itself: Lightning calls ``set_epoch`` on ``loader.batch_sampler.sampler``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        raise NotImplementedError
