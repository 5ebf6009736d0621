"""The table that every preparation step takes and returns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["QUANTITIES", "Note", "StandardTable"]

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
        columns: ``time`` [s], ``current`` [A, discharge negative], ``voltage`` [V], ``temperature`` [degC] and ``soc``
            [0..1], as far as the file has them, and other columns under their own names. Each is ``[n]`` and is not
            changed in place.
        starts: First row of each piece, in increasing order. Rows of different pieces are not neighbours in time.
        rows: Row of the file that each row comes from; None after resampling.

    Example::

        >>> table = StandardTable({"time": np.array([0.0, 1.0, 2.0, 90.0, 91.0])}, starts=(0, 3))
        >>> [len(piece) for piece in table.pieces()]
        [3, 2]

    """

    columns: Mapping[str, NDArray[Any]]
    starts: tuple[int, ...] = (0,)
    rows: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, frame: pd.DataFrame) -> "StandardTable":
        """Build the table of a whole file."""
        columns = {str(name): frame[name].to_numpy() for name in frame}
        return cls(columns, rows=np.arange(len(frame), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.columns["time"])

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    @property
    def frame(self) -> pd.DataFrame:
        """The columns as a data frame."""
        return pd.DataFrame(dict(self.columns), copy=False)

    def spans(self) -> Iterator[slice]:
        """Yield the rows of each piece."""
        for first, last in zip(self.starts, (*self.starts[1:], len(self)), strict=True):
            yield slice(first, last)

    def pieces(self) -> Iterator[pd.DataFrame]:
        """Yield the frame of each piece."""
        frame = self.frame
        for span in self.spans():
            yield frame.iloc[span]

    def keep(self, kept: NDArray[np.bool_]) -> "StandardTable":
        """Return the table with the rows of a mask, and without pieces that have none left."""
        before = np.concatenate([[0], np.cumsum(kept)])
        starts = tuple(dict.fromkeys(int(before[start]) for start in self.starts))
        total = int(before[-1])
        return StandardTable(
            {name: values[kept] for name, values in self.columns.items()},
            tuple(start for start in starts if start < total) or (0,),
            None if self.rows is None else self.rows[kept],
        )

    def with_columns(self, **columns: NDArray[Any]) -> "StandardTable":
        """Return the table with columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    @cached_property
    def intervals(self) -> NDArray[np.float64]:
        """Seconds between neighbouring rows of the same piece."""
        steps = np.diff(self["time"])
        return steps if len(self.starts) == 1 else np.delete(steps, [start - 1 for start in self.starts[1:]])

    @cached_property
    def interval_range(self) -> tuple[float, float]:
        """Smallest and largest of the seconds between rows; a usual pair of ones with fewer than two rows."""
        return (float(self.intervals.min()), float(self.intervals.max())) if self.intervals.size else (1.0, 1.0)

    @cached_property
    def usual_interval(self) -> float | None:
        """Median of the seconds between rows; None with fewer than two rows."""
        return float(np.median(self.intervals)) if self.intervals.size else None
