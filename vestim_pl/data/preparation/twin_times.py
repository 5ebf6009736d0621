"""Rows with the same time."""

import numpy as np

from vestim_pl.data.formats.raw_table import LEAVE_OUT
from vestim_pl.data.preparation.table import Note, StandardTable
from vestim_pl.errors import DataError

__all__ = ["keep_later_twins"]


def keep_later_twins(table: StandardTable, label: str = "") -> tuple[StandardTable, list[Note]]:
    """Keep the last of neighbouring rows with the same time.

    Testers write a row at the end of a step and one at the start of the next, both with the same time. The later has
    the current that flows from there on.

    Args:
        table: The table.
        label: Name of the file in messages.

    Raises:
        DataError: If most rows are such twins: the times have lost their fractions, so most rows would be lost too.

    Example::

        >>> import pandas as pd
        >>> table = StandardTable.of(pd.DataFrame({"time": [0.0, 1.0, 1.0], "current": [0.0, 0.0, -2.0]}))
        >>> keep_later_twins(table)[0]["current"].tolist()
        [0.0, -2.0]

    """
    if table.interval_range[0] > 0:
        return table, []
    time = table["time"]
    twins = np.append(time[1:] == time[:-1], False)
    twins[[start - 1 for start in table.starts[1:]]] = False
    count = int(np.count_nonzero(twins))
    if not count:
        return table, []
    if 2 * count > len(table):
        raise DataError(
            f"{label}: {count:,} of {len(table):,} rows have the same time as the row before them, so the times have "
            "lost "
            f"their fractions or seconds; write them with all digits, name another column by data.columns.time, "
            f"{LEAVE_OUT}"
        )
    return table.keep(~twins), [Note("time: of rows with the same time only the last is kept", count)]
