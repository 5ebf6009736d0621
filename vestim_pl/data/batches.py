"""Which data set and which sampler a table and the settings of sampling make."""

from typing import Any

from torch.utils.data import Dataset

from vestim_pl.data.recording_table import RecordingTable
from vestim_pl.data.stream_batch_sampler import StreamBatchSampler
from vestim_pl.data.stream_sampling import StreamSampling
from vestim_pl.data.streams import StreamDataset
from vestim_pl.data.window_batch_sampler import WindowBatchSampler
from vestim_pl.data.window_sampling import WindowSampling
from vestim_pl.data.windows import WindowDataset
from vestim_pl.functional.sequence_batch import SequenceBatch

__all__ = ["evaluation_batches", "training_batches"]

Batches = tuple[Dataset[SequenceBatch], WindowBatchSampler | StreamBatchSampler]


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
        sampling: Windows or streams, with their settings.
        shuffle: Whether every epoch has an order of its own.
        seed: Seed of the order, together with the epoch.
        rank: This rank.
        world_size: Number of ranks.

    Raises:
        ConfigurationError: If the recordings give no window, or fewer than there are ranks.

    """
    ranks: dict[str, Any] = {"shuffle": shuffle, "seed": seed, "rank": rank, "world_size": world_size}
    if isinstance(sampling, StreamSampling):
        return StreamDataset(table), StreamBatchSampler(
            table.lengths, sampling.lookback, sampling.lanes, sampling.burn_in, **ranks
        )
    windows = WindowDataset(table, sampling.lookback, sampling.stride, sampling.horizon)
    return windows, WindowBatchSampler(len(windows), sampling.batch_size, **ranks)


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
