"""Data set of the streams of a table."""

from typing import Any

import torch
from torch.utils.data import Dataset

from vestim_pl.data.indexing.stream_plan import StreamStep
from vestim_pl.data.recording_table import RecordingTable
from vestim_pl.functional.sequence_batch import SequenceBatch

__all__ = ["StreamDataset"]


class StreamDataset(Dataset[SequenceBatch]):
    """Gather the batches of streams from a table, at the rows of a ``StreamBatchSampler``.

    Shape:
        A batch has inputs ``[B, L, F]``, target ``[B, L]``, weight ``[B, L]`` (0 in burn-in and padding), fresh
        ``[B]``, first_row ``[B]`` (-1 in an empty lane). In evaluation, step j of a lane is row ``first_row + j``; in
        training a recording's first chunk may be padded in front, and ``first_row`` is the row after the padding.

    Args:
        table: Rows of a split.
        horizon: Rows from a step to the row that it estimates; reduce the sampler's lengths by it.

    Example::

        >>> from vestim_pl.data.indexing.stream_batch_sampler import StreamBatchSampler
        >>> table = RecordingTable.of(["udds"], [torch.zeros(5, 3)], [torch.arange(5.)])
        >>> streams = StreamDataset(table)
        >>> [streams[step].target.tolist() for step in StreamBatchSampler([5], chunk=3, lanes=1, shuffle=False)]
        [[[0.0, 1.0, 2.0]], [[3.0, 4.0, 4.0]]]

    """

    def __init__(self, table: RecordingTable, horizon: int = 0) -> None:
        self.table = table
        self.horizon = horizon
        self._target = table.target[horizon:]

    def __getitem__(self, step: StreamStep) -> SequenceBatch:
        """Return the batch of one step."""
        device = self.table.device
        rows = torch.from_numpy(step.rows).to(device, non_blocking=True)
        flat = rows.view(-1)
        return SequenceBatch(
            self.table.inputs.index_select(0, flat).view(*rows.shape, self.table.features),
            self._target.index_select(0, flat).view(rows.shape),
            torch.from_numpy(step.weight).to(device, non_blocking=True),
            torch.from_numpy(step.fresh).to(device, non_blocking=True),
            torch.from_numpy(step.first_row).to(device, non_blocking=True),
        )

    def __getitems__(self, step: Any) -> SequenceBatch:
        """Return the same, under the name that a ``DataLoader`` calls for a whole batch."""
        return self[step]
