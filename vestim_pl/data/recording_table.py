"""All rows of one split, in one block of memory."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = ["Location", "RecordingTable"]


class Location(NamedTuple):
    """Origin of a row of the table.

    Attributes:
        recording: Name of the recording.
        row: Row in that recording, from 0.
        time: Time in seconds, as in the file.

    """

    recording: str
    row: int
    time: float


class RecordingTable:
    """Hold the rows of one split, one recording after another, in physical units.

    Windows and streams are indices into this table; nothing of size rows x lookback is built.

    Shape legend: N rows, F features, R recordings.

    Attributes:
        inputs: ``[N, F]`` float32 features in physical units.
        target: ``[N]`` float32 terminal voltage in volts.
        time: ``[N]`` float64 seconds, as in the files; always on the CPU.
        borders: ``[R + 1]`` int64; recording r has the rows ``borders[r]`` to ``borders[r + 1] - 1``.
        names: R names of the recordings.

    Example::

        >>> table = RecordingTable.of(["udds", "us06"], [torch.zeros(4, 3), torch.zeros(3, 3)],
        ...                           [torch.zeros(4), torch.zeros(3)])
        >>> table.rows, table.lengths.tolist()
        (7, [4, 3])
        >>> table.locate([5])
        [Location(recording='us06', row=1, time=1.0)]

    """

    def __init__(
        self,
        inputs: Tensor,
        target: Tensor,
        time: NDArray[np.float64],
        borders: NDArray[np.int64],
        names: Sequence[str],
    ) -> None:
        self.inputs = inputs
        self.target = target
        self.time = time
        self.borders = borders
        self.names = tuple(names)

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        inputs: Sequence[Tensor],
        target: Sequence[Tensor],
        time: Sequence[NDArray[np.float64]] | None = None,
    ) -> "RecordingTable":
        """Build a table from recordings in memory; without ``time``, rows are one second apart.

        Args:
            names: R names.
            inputs: R tensors ``[n, F]``.
            target: R tensors ``[n]``.
            time: R arrays ``[n]`` in seconds.

        """
        lengths = [len(voltage) for voltage in target]
        time = [np.arange(length, dtype=np.float64) for length in lengths] if time is None else time
        return cls(
            torch.cat([values.to(torch.float32) for values in inputs]),
            torch.cat([voltage.to(torch.float32) for voltage in target]),
            np.concatenate(time),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            names,
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.target)

    @property
    def features(self) -> int:
        """Number of features."""
        return self.inputs.shape[1]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``[R]`` rows of each recording."""
        return np.diff(self.borders)

    @property
    def hours(self) -> float:
        """Measured hours of all recordings."""
        return float(sum(self.time[last - 1] - self.time[first] for first, last in self._spans())) / 3600.0

    @property
    def nbytes(self) -> int:
        """Bytes of features, voltage and time."""
        return self.inputs.nbytes + self.target.nbytes + self.time.nbytes

    @property
    def device(self) -> torch.device:
        """Device of the rows."""
        return self.inputs.device

    def to(self, device: torch.device) -> "RecordingTable":
        """Return the table with its tensors on a device, so batches are gathered there."""
        if device == self.device:
            return self
        return RecordingTable(self.inputs.to(device), self.target.to(device), self.time, self.borders, self.names)

    def recording_of(self, rows: ArrayLike) -> NDArray[np.int64]:
        """Return the index of the recording of each row.

        Raises:
            IndexError: If a row is not in the table.

        """
        rows = np.asarray(rows)
        if rows.size and (rows.min() < 0 or rows.max() >= self.rows):
            raise IndexError(f"rows {rows.min()} to {rows.max()} are not all in a table of {self.rows} rows")
        return np.searchsorted(self.borders, rows, side="right") - 1

    def locate(self, rows: ArrayLike) -> list[Location]:
        """Return recording, row within it, and time of each row of the table.

        Raises:
            IndexError: If a row is not in the table.

        """
        rows = np.atleast_1d(np.asarray(rows))
        return [
            Location(self.names[recording], int(row - self.borders[recording]), float(self.time[row]))
            for row, recording in zip(rows, self.recording_of(rows), strict=True)
        ]

    def span(self, first_row: int, steps: int) -> dict[str, str | int | float | None]:
        """Return the origin of a sequence of a batch, as plain values for a message or a file.

        Args:
            first_row: First row of the sequence in the table; -1 for an empty lane.
            steps: Length of the sequence; a shorter recording ends it earlier.

        Returns:
            ``recording``, ``start_row`` and ``end_row`` in it, ``start_time`` and ``end_time`` in seconds; all None for
            ``first_row`` -1.

        """
        if first_row < 0:
            return dict.fromkeys(("recording", "start_row", "end_row", "start_time", "end_time"))
        border = int(self.borders[int(self.recording_of(first_row)) + 1])
        first, last = self.locate([first_row, min(first_row + steps, border) - 1])
        return {
            "recording": first.recording,
            "start_row": first.row,
            "end_row": last.row,
            "start_time": first.time,
            "end_time": last.time,
        }

    def recording(self, name: str) -> slice:
        """Return the rows of a recording.

        Raises:
            KeyError: If there is no recording of that name.

        """
        if name not in self.names:
            raise KeyError(f"no recording {name!r} among {', '.join(self.names)}")
        index = self.names.index(name)
        return slice(int(self.borders[index]), int(self.borders[index + 1]))

    def _spans(self) -> list[tuple[int, int]]:
        return [(int(first), int(last)) for first, last in zip(self.borders[:-1], self.borders[1:], strict=True)]
