"""Bring rows to one interval."""

import numpy as np
import pandas as pd

from vestim_pl.data.preparation.table import Note, StandardTable

__all__ = ["resampled"]

_COVERED = 0.5  # of the last interval; a mean of less is left out
_JITTER = 0.05  # of the interval: rows that are as far apart already


def resampled(table: StandardTable, interval: float | None) -> tuple[StandardTable, list[Note]]:
    """Bring the rows of each piece to one interval, never across a gap.

    Rows that are closer are averaged within each interval ``[t, t + interval)`` from the first row on, which keeps the
    charge. Where no row is near, as between rows that are further apart, the current holds its last value and the other
    columns are interpolated.

    Args:
        table: The table; columns that are no numbers are dropped.
        interval: Seconds between rows; None leaves them as they are.

    Example::

        >>> frame = pd.DataFrame({"time": [0.0, 0.5, 1.0, 1.5], "current": [0.0, -2.0, -4.0, -4.0]})
        >>> resampled(StandardTable.of(frame), 1.0)[0].frame
           time  current
        0   0.0     -1.0
        1   1.0     -4.0

    """
    if interval is None:
        return table, []
    intervals = table.intervals
    if not intervals.size or np.all(np.abs(intervals - interval) <= _JITTER * interval):
        return table, []
    pieces = [_piece(piece.select_dtypes("number").astype(np.float64), interval) for piece in table.pieces()]
    starts = np.cumsum([0, *(len(piece) for piece in pieces[:-1])])
    whole = StandardTable.of(pd.concat(pieces, ignore_index=True))
    note = Note(f"resampled to an interval of {interval:g} s (data.resample)")
    return StandardTable(whole.columns, tuple(int(start) for start in starts)), [note]


def _piece(frame: pd.DataFrame, interval: float) -> pd.DataFrame:
    time = frame["time"].to_numpy()
    number = np.floor((time - time[0]) / interval + 1e-6).astype(np.int64)
    grid = time[0] + interval * np.arange(int(number[-1]) + 1)
    between = pd.DataFrame({name: np.interp(grid, time, frame[name].to_numpy()) for name in frame})
    if "current" in frame:
        held = np.searchsorted(time, grid + 1e-6 * interval, side="right") - 1
        between["current"] = frame["current"].to_numpy()[held]
    between["time"] = grid
    steps = np.diff(time)
    if steps.size and float(np.median(steps)) > (1 + _JITTER) * interval:
        return between
    means = frame.drop(columns="time").groupby(number).mean()
    between.loc[means.index, means.columns] = means
    covered = time[-1] - grid[-1] + (float(np.median(steps)) if steps.size else interval)
    return between if covered >= _COVERED * interval else between.iloc[:-1]
