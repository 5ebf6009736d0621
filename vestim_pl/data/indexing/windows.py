"""Data set of the windows of a table."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from vestim_pl.data.indexing.window_arithmetic import count_windows, window_starts
from vestim_pl.data.recording_table import RecordingTable
from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.sequence_batch import SequenceBatch

__all__ = ["WindowDataset"]


class WindowDataset(Dataset[SequenceBatch]):
    """Gather windows of ``lookback`` rows from a table; no window crosses the border of a recording.

    A window is an index, and one indexing operation gathers a whole batch. With torch's own ``DataLoader``, pass
    ``collate_fn=WindowDataset.keep``.

    Shape:
        A batch of B windows has inputs ``[B, L, F]``, target ``[B, 1]`` (the voltage ``horizon`` rows after the last
        row of the window), weight ``[B, 1]`` (1; 0 where the index was negative), fresh ``[B]`` (all true),
        first_row ``[B]``.

    Args:
        table: Rows of a split.
        lookback: Rows in a window (L).
        stride: Rows from the start of one window to the next.
        horizon: Rows from the last row of a window to the estimated one.

    Raises:
        ConfigurationError: If no recording is long enough for a window.

    Example::

        >>> table = RecordingTable.of(["udds"], [torch.arange(12.).view(6, 2)], [torch.arange(6.)])
        >>> windows = WindowDataset(table, lookback=3, horizon=1)
        >>> len(windows), windows.__getitems__([0, 2]).target.tolist()
        (3, [[3.0], [5.0]])

    """

    def __init__(self, table: RecordingTable, lookback: int, stride: int = 1, horizon: int = 0) -> None:
        self.table = table
        self.lookback = lookback
        self.stride = stride
        self.horizon = horizon
        counts = count_windows(table.lengths, lookback, stride, horizon)
        self._firsts = np.concatenate([[0], np.cumsum(counts)])
        if len(self) == 0:
            raise ConfigurationError(
                f"sampling.lookback: no recording has the {lookback + horizon} rows of one window (the longest has "
                f"{table.lengths.max(initial=0)}); choose a smaller lookback"
            )
        # Overlapping views: row r is the window that starts at row r of the table. They take no memory.
        rows, features = table.inputs.shape
        self._inputs = table.inputs.as_strided((rows - lookback + 1, lookback * features), (features, 1))
        self._target = table.target[lookback - 1 + horizon :].unsqueeze(1)

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def __getitem__(self, index: int) -> SequenceBatch:
        """Return one window, without the batch dimension."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        return SequenceBatch(*(tensor[0] for tensor in self.__getitems__([index % len(self)])))

    def __getitems__(self, indices: Sequence[int] | NDArray[np.integer]) -> SequenceBatch:
        """Gather a batch of windows in one indexing operation.

        Args:
            indices: ``[B]`` windows, counted over all recordings; ``~i`` is window i with weight 0.

        """
        windows = np.asarray(indices, dtype=np.int64)
        repeated = windows < 0
        windows = np.where(repeated, ~windows, windows)
        starts = torch.from_numpy(window_starts(windows, self.table.borders, self._firsts, self.stride))
        starts = starts.to(self.table.device, non_blocking=True)
        lanes, device = len(windows), starts.device
        weight = torch.ones(lanes, 1, device=device)
        if repeated.any():
            weight[torch.from_numpy(repeated).to(device)] = 0.0
        return SequenceBatch(
            self._inputs.index_select(0, starts).view(lanes, self.lookback, self.table.features),
            self._target.index_select(0, starts),
            weight,
            torch.ones(lanes, dtype=torch.bool, device=device),
            starts,
        )

    @staticmethod
    def keep(batch: SequenceBatch) -> SequenceBatch:
        """Return a batch unchanged; the ``collate_fn`` for a ``DataLoader`` of windows."""
        return batch

    def estimated_rows(self, batch: SequenceBatch) -> Tensor:
        """Return the row ``[B]`` of the table that each window estimates."""
        return batch.first_row + (self.lookback - 1 + self.horizon)
