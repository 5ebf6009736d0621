"""Which data set and which sampler a table and the settings of sampling make."""

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
    """Data set and batch sampler of training.

    Args:
        table: Rows of the training split.
        sampling: Windows or streams, with their settings; more than one of ``sampling.orders`` lie side by side.
        shuffle: Whether every epoch has an order of its own.
        seed: Seed of the order, together with the epoch.
        rank: This rank.
        world_size: Number of ranks.

    Raises:
        ConfigurationError: If the recordings give no window, or fewer than there are ranks.

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
    """Data set and batch sampler of an evaluation: windows, or whole recordings with carried state; always the same.

    Args:
        table: Rows of the split that is evaluated.
        sampling: Windows or streams, with their settings; ``sampling.evaluation`` decides which.
        rank: This rank.
        world_size: Number of ranks.

    Raises:
        ConfigurationError: If the recordings give no window, or fewer than there are ranks.

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
    """Seeds of the orders side by side; the first is the run's own."""
    return [seed, *(int(np.random.SeedSequence((seed, order)).generate_state(1)[0]) for order in range(1, orders))]
