"""Guess the names of columns that have none, as a proposal for the user to check; nothing is read by it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vestim_pl.data.formats.table_finder import is_clock_or_date

__all__ = ["guess_names"]

_VOLTS = (1.0, 5.0)
_DEGREES = (-40.0, 90.0)
_RANGE = 5.0  # degC, within the first rows


def guess_names(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Guess which columns are time, current, voltage and temperature; the others are numbered.

    Args:
        rows: Cells as text, with decimal points.
        width: Number of columns.

    Example::

        >>> guess_names([["R", "7", "0.0", "0.1", "3.98", "20.1"], ["D", "8", "0.5", "-1.0", "3.91", "20.2"]], 6)
        ['column1', 'column2', 'Time', 'Current', 'Voltage', 'Temp']

    """
    cells = [[row[index] if index < len(row) else "" for row in rows] for index in range(width)]
    columns = {index: numbers for index, column in enumerate(cells) if (numbers := _numbers(column)) is not None}
    names: dict[int | None, str] = {_time(columns, cells): "Time"}
    volts = {i: values for i, values in columns.items() if i not in names and _within(values, _VOLTS)}
    voltage = max(volts, key=lambda index: (len(np.unique(volts[index])), _has_fractions(cells[index])), default=None)
    if voltage is not None:
        names[voltage] = "Voltage"
        names.setdefault(_current(columns, names, voltage), "Current")
    degrees = [i for i in columns if i not in names and _within(columns[i], _DEGREES) and _has_fractions(cells[i])]
    slow = [i for i in degrees if 0 < np.ptp(columns[i]) < _RANGE and abs(np.mean(columns[i])) > _RANGE]
    names.setdefault(slow[0] if slow else None, "Temp")
    return [names.get(index, f"column{index + 1}") for index in range(width)]


def _numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    try:
        return np.asarray(cells, dtype=np.float64)
    except ValueError:
        return None


def _has_fractions(cells: Sequence[str]) -> bool:
    return any("." in cell for cell in cells)


def _within(values: NDArray[np.float64], limits: tuple[float, float]) -> bool:
    return bool(np.all((values >= limits[0]) & (values <= limits[1])))


def _time(columns: dict[int, NDArray[np.float64]], cells: Sequence[Sequence[str]]) -> int | None:
    """A column of clock times; else, of those that only grow, one with fractions, the one that grows most, the last.

    A number of the row has no fractions, or stands in front; a temperature or a charge grows less than a time.
    """
    for index, column in enumerate(cells):
        if all(is_clock_or_date(cell) for cell in column):
            return index
    growing = {index: np.ptp(values) for index, values in columns.items() if np.all(np.diff(values) > 0)}
    fractions = [index for index in growing if _has_fractions(cells[index])]
    return max(fractions or growing, key=lambda index: (growing[index], index), default=None)


def _current(columns: dict[int, NDArray[np.float64]], named: dict[int | None, str], voltage: int) -> int | None:
    """A column with negative numbers, else one beside the voltage."""
    free = [index for index in columns if index not in named]
    negative = [index for index in free if np.any(columns[index] < 0)]
    beside = [index for index in (voltage - 1, voltage + 1) if index in free]
    return next(iter([*sorted(negative, key=lambda index: abs(index - voltage)), *beside]), None)
