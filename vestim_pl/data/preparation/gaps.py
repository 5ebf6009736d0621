"""Cut a recording where time has a gap or starts again."""

from dataclasses import replace

import numpy as np

from vestim_pl.data.preparation.table import Note, StandardTable
from vestim_pl.errors import DataError
from vestim_pl.settings.override import Override

__all__ = ["cut_at_gaps"]

USUAL_GAP = 10.0  # intervals
_FEW_RESTARTS = 0.01  # of the rows; more is a wrong column


def cut_at_gaps(table: StandardTable, max_gap: float | None, label: str = "") -> tuple[StandardTable, list[Note]]:
    """Begin a new piece after each gap, and where time starts again.

    The network sees rows, not times: without a cut its memory would carry over the gap as if it were one interval.

    Args:
        table: The table.
        max_gap: Longest interval in seconds that is no gap; None for ten usual intervals.
        label: Name of the file in messages.

    Raises:
        DataError: If time goes back by less than ten intervals, or often.

    Example::

        >>> table = StandardTable({"time": np.array([0.0, 1.0, 2.0, 3602.0, 3603.0])})
        >>> cut_at_gaps(table, None)[0].starts
        (0, 3)

    """
    low, high = table.interval_range
    longest = USUAL_GAP * (table.usual_interval or 1.0) if max_gap is None else max_gap
    if low > 0 and high <= longest:
        return table, []
    steps = np.diff(table["time"])
    restarts = np.flatnonzero(steps <= 0)
    usual = table.usual_interval or 0.0
    if restarts.size:
        usual = float(np.median(steps[steps > 0])) if restarts.size < steps.size else 0.0
    limit = USUAL_GAP * usual if max_gap is None else max_gap
    _refuse_disorder(table, steps, restarts, USUAL_GAP * usual, label)
    gaps = np.flatnonzero(steps > limit)
    notes = []
    if gaps.size:
        limited = "ten intervals" if max_gap is None else f"{Override('data.max_gap', max_gap)} s"
        notes.append(Note(f"time: cut into two recordings where a gap is longer than {limited}", len(gaps)))
    if restarts.size:
        notes.append(Note("time: cut into two recordings where time starts again", len(restarts)))
    if not notes:
        return table, []
    starts = sorted({*table.starts, *(int(row) + 1 for row in gaps), *(int(row) + 1 for row in restarts)})
    return replace(table, starts=tuple(starts)), notes


def _refuse_disorder(table: StandardTable, steps: np.ndarray, restarts: np.ndarray, small: float, label: str) -> None:
    """Tell a time that starts again from rows in the wrong order and from the time within a step."""
    small_steps = restarts[-steps[restarts] < small]
    many = len(restarts) > max(1, _FEW_RESTARTS * len(table))
    if not small_steps.size and not many:
        return
    row = int((small_steps if small_steps.size else restarts)[0]) + 1
    time = table["time"]
    often = f", and so {len(restarts)} times" if len(restarts) > 1 else ""
    where = row if table.rows is None else int(table.rows[row])
    raise DataError(
        f"{label}: column of time, row {where} (counted from 0): time does not increase ({time[row]:g} after "
        f"{time[row - 1]:g}{often}); sort the rows by time, name another column by data.columns.time, or leave the "
        "file "
        "out with data.on_bad_file=skip"
    )
