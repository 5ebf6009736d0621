"""Batch sampler of windows, in an order that depends only on seed and epoch."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vestim_pl.data.indexing.epoch_batch_sampler import EpochBatchSampler
from vestim_pl.data.indexing.window_arithmetic import batch_bounds, epoch_order
from vestim_pl.errors import ConfigurationError

__all__ = ["WindowBatchSampler"]


class WindowBatchSampler(EpochBatchSampler[NDArray[np.integer]]):
    """Yield batches of indices, shuffled in every epoch and divided evenly among the ranks.

    The order follows from (seed, epoch), so it is the same after a resume and on every rank. Each item occurs once an
    epoch, on one rank. With a batch size of 1 on several ranks, a rank may run out of items before the others. Its last
    batch then repeats item i as ``~i``, a negative number, which ``WindowDataset`` reads as window i with weight 0.

    Args:
        items: Number of items, ``len(dataset)``.
        batch_size: Items in a batch of one rank.
        shuffle: Whether each epoch has its own order; otherwise items come in ascending order.
        seed: Seed of the run.
        rank: This rank.
        world_size: Number of ranks.

    Raises:
        ConfigurationError: If there are fewer items than ranks.

    Example::

        >>> sampler = WindowBatchSampler(5, batch_size=2, shuffle=False)
        >>> [batch.tolist() for batch in sampler]
        [[0, 1], [2, 3], [4]]

    """

    def __init__(
        self,
        items: int,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if items < world_size:
            raise ConfigurationError(
                f"trainer.devices: {world_size} processes for {items} windows; train on at most {items} devices"
            )
        self.items = items
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._bounds = batch_bounds(items, batch_size, rank, world_size)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __iter__(self) -> Iterator[NDArray[np.integer]]:
        order = epoch_order(self.items, self.seed, self.epoch)[self.rank :: self.world_size] if self.shuffle else None
        for batch in range(len(self)):
            first, last = int(self._bounds[batch]), int(self._bounds[batch + 1])
            places = np.arange(first, last) if first < last else np.array([last - 1])
            items = self.rank + self.world_size * places if order is None else order[places]
            yield items if first < last else ~items
