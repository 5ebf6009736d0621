"""Build the data set and the batch sampler from a table and the sampling settings."""

from typing import Any

import numpy as np
from torch.utils.data import Dataset

from vestim_pl.data.indexing.side_by_side_sampler import SideBySideSampler
from vestim_pl.data.indexing.stream_batch_sampler import StreamBatchSampler
from vestim_pl.data.indexing.streams import StreamDataset
from vestim_pl.data.indexing.window_batch_sampler import WindowBatchSampler
from vestim_pl.data.indexing.windows import WindowDataset
from vestim_pl.data.recording_table import RecordingTable
from vestim_pl.data.stream_sampling import StreamSampling
from vestim_pl.data.window_sampling import WindowSampling
from vestim_pl.functional.sequence_batch import SequenceBatch

__all__ = ["evaluation_batches", "training_batches"]

BatchSampler = WindowBatchSampler | StreamBatchSampler
Batches = tuple[Dataset[SequenceBatch], BatchSampler | SideBySideSampler[Any]]


def training_batches(
    table: RecordingTable,
    sampling: WindowSampling | StreamSampling,
    *,
    shuffle: bool = True,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Batches:
    """Build the data set and the batch sampler of a training.

    Args:
        table: Rows of the training split.
        sampling: Windows or streams, with their settings; ``sampling.orders`` above 1 puts several orders side by side.
        shuffle: Whether each epoch has its own order.
        seed: Seed of the order, together with the epoch.
        rank: This rank.
        world_size: Number of ranks.

    Raises:
        ConfigurationError: If the recordings yield no window, or fewer windows than ranks.

    """
    ranks: dict[str, Any] = {"shuffle": shuffle, "rank": rank, "world_size": world_size}
    data: StreamDataset | WindowDataset
    samplers: list[BatchSampler]
    if isinstance(sampling, StreamSampling):
        data = StreamDataset(table)
        chunks = table.lengths, sampling.lookback, sampling.lanes, sampling.burn_in
        samplers = [StreamBatchSampler(*chunks, seed=each, **ranks) for each in _order_seeds(seed, sampling.orders)]
    else:
        data = WindowDataset(table, sampling.lookback, sampling.stride, sampling.horizon)
        windows = len(data), sampling.batch_size
        samplers = [WindowBatchSampler(*windows, seed=each, **ranks) for each in _order_seeds(seed, sampling.orders)]
    return data, samplers[0] if len(samplers) == 1 else SideBySideSampler(samplers)


def evaluation_batches(
    table: RecordingTable, sampling: WindowSampling | StreamSampling, *, rank: int = 0, world_size: int = 1
) -> Batches:
    """Build the data set and the batch sampler of an evaluation, in the same order every time.

    Args:
        table: Rows of the evaluated split.
        sampling: Sampling settings; ``evaluation`` chooses windows, or whole recordings with carried state.
        rank: This rank.
        world_size: Number of ranks.

    Raises:
        ConfigurationError: If the recordings yield no window, or fewer windows than ranks.

    """
    if sampling.evaluation == "streams":
        return StreamDataset(table, sampling.horizon), StreamBatchSampler(
            table.lengths - sampling.horizon,
            sampling.evaluation_chunk,
            sampling.evaluation_lanes,
            sampling.scored_from,
            starts=table.borders[:-1],
            whole=True,
            rank=rank,
            world_size=world_size,
        )
    windows = WindowDataset(table, sampling.lookback, sampling.evaluation_stride, sampling.horizon)
    return windows, WindowBatchSampler(
        len(windows), sampling.evaluation_batch_size, shuffle=False, rank=rank, world_size=world_size
    )


def _order_seeds(seed: int, orders: int) -> list[int]:
    """Return one seed an order; the first is the seed of the run."""
    return [seed, *(int(np.random.SeedSequence((seed, order)).generate_state(1)[0]) for order in range(1, orders))]
