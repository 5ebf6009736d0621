"""Trim the rest before the first load."""

import numpy as np

from vestim_pl.data.preparation.table import Note, StandardTable

__all__ = ["trim_leading_rest"]

_AT_REST = 0.005  # of the largest current


def trim_leading_rest(table: StandardTable, kept: float | None) -> tuple[StandardTable, list[Note]]:
    """Drop the rest at the start of each piece, except its last seconds.

    Args:
        table: The table.
        kept: Seconds of rest that stay; None trims nothing.

    Example::

        >>> import pandas as pd
        >>> table = StandardTable.of(pd.DataFrame({"time": [0.0, 1.0, 2.0, 3.0], "current": [0.0, 0.0, 0.0, -1.0]}))
        >>> trim_leading_rest(table, 1.0)[0]["time"].tolist()
        [2.0, 3.0]

    """
    if kept is None or "current" not in table:
        return table, []
    current, time = table["current"], table["time"]
    loaded = np.abs(current) > _AT_REST * np.abs(current).max(initial=0.0)
    stays = np.ones(len(time), dtype=bool)
    for span in table.spans():
        if loaded[span].any():
            first = time[span][int(np.argmax(loaded[span]))]
            stays[span] = time[span] >= first - kept
    count = int(np.count_nonzero(~stays))
    note = Note(f"rest before the first load is trimmed to {kept:g} s (data.trim_rest)", count)
    return (table.keep(stays), [note]) if count else (table, [])
