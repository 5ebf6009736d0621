"""Batch sampler for truncated backpropagation through time, for any data."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vestim_pl.data.indexing.epoch_batch_sampler import EpochBatchSampler
from vestim_pl.data.indexing.lane_plans import evaluation_lanes, evaluation_plan, training_plan
from vestim_pl.data.indexing.stream_plan import StreamPlan, StreamStep, stream_step
from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.checks import check_integers

__all__ = ["StreamBatchSampler"]


class StreamBatchSampler(EpochBatchSampler[StreamStep]):
    """Yield rows, weights and resets of each batch for truncated backpropagation through time.

    The sampler needs only the lengths of recordings that follow each other in an array or tensor; index that with
    ``step.rows``. Keep the network's detached state between batches, and set it to zero in the lanes that are
    ``fresh``.

    In training each row of each recording runs once an epoch, through a lane of one rank. Order and chunk borders
    differ in every epoch and follow from (seed, epoch). Long recordings are cut where a lane ends, so all lanes end
    together, less than one batch an epoch is empty, and all ranks have the same number of batches. In evaluation
    (``whole``) no recording is cut, and there are fewer lanes if short recordings would leave some idle.

    Shape legend: B lanes, L steps of a chunk.

    Args:
        lengths: Rows of each recording.
        chunk: Steps of a chunk (L).
        lanes: Lanes of one rank (B); with ``whole`` the largest number of them.
        burn_in: Rows after a reset whose weight is 0.
        starts: First row of each recording, if there are gaps between them.
        whole: Whether recordings stay whole, in the same order every epoch.
        shuffle: Whether order and chunk borders differ in every epoch.
        seed: Seed of the run.
        rank: This rank.
        world_size: Number of ranks.

    Raises:
        ConfigurationError: If a number is out of range, or no recording has rows.

    Example::

        >>> sampler = StreamBatchSampler([5, 3], chunk=2, lanes=2, burn_in=1, shuffle=False)
        >>> for step in sampler:
        ...     print(step.rows.tolist(), step.weight.tolist(), step.fresh.tolist())
        [[0, 1], [4, 4]] [[0.0, 1.0], [0.0, 0.0]] [True, True]
        [[2, 3], [5, 6]] [[1.0, 1.0], [0.0, 1.0]] [False, True]
        [[3, 3], [7, 7]] [[0.0, 0.0], [1.0, 0.0]] [True, False]

    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        chunk: int,
        lanes: int,
        burn_in: int = 0,
        *,
        starts: Sequence[int] | np.ndarray | None = None,
        whole: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths if starts is None else np.asarray(starts, dtype=np.int64)
        if self.lengths.size == 0 or self.lengths.min() < 1:
            raise ConfigurationError("sampling: streams need recordings of at least 1 row each; leave empty ones out")
        self.chunk = chunk
        self.lanes = evaluation_lanes(self.lengths, chunk, lanes, world_size) if whole else lanes
        self.burn_in = burn_in
        self.whole = whole
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        check_integers(self, "sampling", chunk=1, lanes=1, burn_in=0)
        self._batches = len(self.plan().fresh)

    def plan(self) -> StreamPlan:
        """Return all chunks of the epoch; the plan is at most a hundredth of the size of the rows."""
        shape = self.starts, self.lengths, self.chunk, self.lanes
        place: dict[str, Any] = {"burn_in": self.burn_in, "rank": self.rank, "world_size": self.world_size}
        if self.whole:
            return evaluation_plan(*shape, **place)
        return training_plan(*shape, **place, order_seed=(self.seed, self.epoch) if self.shuffle else None)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[StreamStep]:
        plan = self.plan()
        for batch in range(self._batches):
            yield stream_step(plan, batch, self.chunk)
