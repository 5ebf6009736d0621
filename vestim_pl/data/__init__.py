"""From recordings to batches: reading and checking, windows, streams, and the data module."""

from vestim_pl.data.columns import Columns
from vestim_pl.data.datamodule import VoltageDataModule
from vestim_pl.data.formats.raw_table import FileOptions
from vestim_pl.data.indexing.stream_batch_sampler import StreamBatchSampler
from vestim_pl.data.indexing.streams import StreamDataset
from vestim_pl.data.indexing.window_batch_sampler import WindowBatchSampler
from vestim_pl.data.indexing.windows import WindowDataset
from vestim_pl.data.loader import ResumableLoader
from vestim_pl.data.preparation import PreparationSettings, SocSource, Units
from vestim_pl.data.recording_table import RecordingTable
from vestim_pl.data.splits import SplitRules
from vestim_pl.data.stream_sampling import StreamSampling
from vestim_pl.data.window_sampling import WindowSampling

__all__ = [
    "Columns",
    "FileOptions",
    "PreparationSettings",
    "RecordingTable",
    "ResumableLoader",
    "SocSource",
    "SplitRules",
    "StreamBatchSampler",
    "StreamDataset",
    "StreamSampling",
    "Units",
    "VoltageDataModule",
    "WindowBatchSampler",
    "WindowDataset",
    "WindowSampling",
]
