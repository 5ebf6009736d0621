"""The table that every preparation step takes and returns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["QUANTITIES", "Note", "StandardTable", "usual_interval"]

QUANTITIES = ("time", "current", "voltage", "temperature", "soc")


class Note(NamedTuple):
    """What was assumed or changed.

    Attributes:
        text: The same for every file where the same was done, so that the log has it once.
        rows: Number of rows concerned; 0 for the whole file.

    """

    text: str
    rows: int = 0


@dataclass(frozen=True)
class StandardTable:
    """One file's rows in standard units.

    Attributes:
        frame: Columns ``time`` [s], ``current`` [A, discharge negative], ``voltage`` [V], ``temperature`` [degC] and
            ``soc`` [0..1], as far as the file has them, and other columns under their own names.
        starts: First row of each piece, in increasing order. Rows of different pieces are not neighbours in time.
        rows: Row of the file that each row comes from; None after resampling.

    Example::

        >>> frame = pd.DataFrame({"time": [0.0, 1.0, 2.0, 90.0, 91.0]})
        >>> [len(piece) for piece in StandardTable(frame, starts=(0, 3)).pieces()]
        [3, 2]

    """

    frame: pd.DataFrame
    starts: tuple[int, ...] = (0,)
    rows: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, frame: pd.DataFrame) -> "StandardTable":
        """Build the table of a whole file."""
        return cls(frame, rows=np.arange(len(frame), dtype=np.int64))

    def spans(self) -> Iterator[slice]:
        """Yield the rows of each piece."""
        for first, last in zip(self.starts, (*self.starts[1:], len(self.frame)), strict=True):
            yield slice(first, last)

    def pieces(self) -> Iterator[pd.DataFrame]:
        """Yield the frame of each piece."""
        for span in self.spans():
            yield self.frame.iloc[span]

    def keep(self, kept: NDArray[np.bool_]) -> "StandardTable":
        """Return the table with the rows of a mask, and without pieces that have none left."""
        before = np.concatenate([[0], np.cumsum(kept)])
        starts = tuple(dict.fromkeys(int(before[start]) for start in self.starts))
        rows = None if self.rows is None else self.rows[kept]
        total = int(before[-1])
        return StandardTable(
            self.frame[kept].reset_index(drop=True), tuple(s for s in starts if s < total) or (0,), rows
        )

    def with_columns(self, **columns: object) -> "StandardTable":
        """Return the table with columns added or replaced."""
        return replace(self, frame=self.frame.assign(**columns))

    def of_pieces(self, frames: Sequence[pd.DataFrame]) -> "StandardTable":
        """Return the table of other pieces, whose rows are no longer those of the file."""
        starts = np.cumsum([0, *(len(frame) for frame in frames[:-1])])
        return StandardTable(pd.concat(frames, ignore_index=True), tuple(int(start) for start in starts))

    def intervals(self) -> NDArray[np.float64]:
        """Return the seconds between neighbouring rows of the same piece."""
        steps = np.diff(self.frame["time"].to_numpy(np.float64))
        return np.delete(steps, [start - 1 for start in self.starts[1:]])


def usual_interval(table: StandardTable) -> float | None:
    """Return the median of the seconds between rows; None with fewer than two rows.

    Example::

        >>> usual_interval(StandardTable(pd.DataFrame({"time": [0.0, 1.0, 2.0, 90.0]})))
        1.0

    """
    intervals = table.intervals()
    return float(np.median(intervals)) if intervals.size else None
