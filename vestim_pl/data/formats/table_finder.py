"""Find a table among rows of cells, in a text or a sheet: its names, a row of units, its first row."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vestim_pl.data.formats.units import is_unit

__all__ = ["COMMA_NUMBER", "NUMBER", "FoundTable", "find_table", "is_clock_or_date", "without_empty_end"]

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf|nan", re.IGNORECASE)
COMMA_NUMBER = re.compile(r"[+-]?(?:\d+,\d+|,\d+)(?:[eE][+-]?\d+)?")
_TIME = re.compile(r"(?:\d+\s*d(?:ays?)?\s+)?\d+(?:[.:-]\d+)?:\d\d(?::\d\d)?(?:[.,]\d+)?(?:\s*[AP]M)?", re.IGNORECASE)
_DATE = re.compile(
    r"\d{1,4}[-/.](?:\d{1,2}|[a-z]{3})[-/.]\d{1,4}"
    r"(?:[T ]+\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s*[AP]M)?\s*(?:Z|UTC|[+-]\d\d:?\d\d)?)?",
    re.IGNORECASE,
)
_VALUE = re.compile("|".join(f"(?:{kind.pattern})" for kind in (NUMBER, COMMA_NUMBER, _TIME, _DATE)), re.IGNORECASE)
_FEWEST = 2  # numbers in a row
_ROWS_OF_WIDTH = 20


@dataclass(frozen=True)
class FoundTable:
    """Place of a table among rows of cells; rows are counted from 0.

    Attributes:
        start: First row with values.
        width: Cells of most rows.
        numbers: Numbers and times in the rows of that width, a measure of how well the cells were separated.
        header: Row of the names; None if there is none.
        units: Row of units; None if there is none.
        nested: Empty cells in front of the names: 2 in a Neware export that nests records in steps in cycles.

    """

    start: int
    width: int
    numbers: int
    header: int | None
    units: int | None
    nested: int = 0


def find_table(rows: Sequence[Sequence[str]], header: int | None = None) -> FoundTable | None:
    """Find the longest run of rows with two numbers or times or more, and the names above it.

    Args:
        rows: Cells as text, without spaces around them.
        header: Row of the names where it is known, counted from 0.

    Returns:
        The place of the table; None if no row looks like values.

    Example::

        >>> find_table([["Cell", "7"], [], ["Time", "U"], ["[s]", "[V]"], ["0", "4.1"], ["1", "4.0"]])
        FoundTable(start=4, width=2, numbers=4, header=2, units=3, nested=0)

    """
    counts = [_numbers(row) for row in rows]
    if header is None:
        start, stop = _longest_run(rows, counts)
    else:
        start = next((i for i in range(header + 1, len(rows)) if counts[i]), len(rows))
        stop = len(rows)
    if start == stop:
        return None
    widths = Counter(len(row) for row in rows[start:stop] if any(row))
    width = max(widths, key=lambda size: (widths[size], size))
    numbers = sum(counts[i] for i in range(start, stop) if len(rows[i]) == width)
    if header is not None:
        units = next((i for i in range(header + 1, start) if _is_row_of_units(rows[i])), None)
        return FoundTable(start, width, numbers, header, units, _nested(rows, header))
    names, units = _names_above(rows, start)
    if names is None and (earlier := _earlier_names(rows, counts, start, width)) is not None:
        start, names = earlier + 1, earlier
    if names is not None and units is None:
        repeated = next((i for i in range(names) if rows[i] == rows[names]), names)
        start, names = (repeated + 1, repeated) if repeated < names else (start, names)
    return FoundTable(start, width, numbers, names, units, 0 if names is None else _nested(rows, names))


def without_empty_end(row: Sequence[str]) -> Sequence[str]:
    """Return a row without empty cells at its end."""
    filled = next((index for index in range(len(row), 0, -1) if row[index - 1]), 0)
    return row[:filled]


def is_clock_or_date(cell: str) -> bool:
    """Whether a cell is a clock time or a date."""
    return bool(_TIME.fullmatch(cell) or _DATE.fullmatch(cell))


def _numbers(row: Sequence[str]) -> int:
    """How many cells are numbers or times."""
    return sum(1 for cell in row if _VALUE.fullmatch(cell))


def _longest_run(rows: Sequence[Sequence[str]], counts: Sequence[int]) -> tuple[int, int]:
    """First row, and row after the last; blank rows do not end a run."""
    best, start = (0, 0), None
    for index in range(len(rows) + 1):
        if index < len(rows) and (counts[index] >= _FEWEST or not any(rows[index])):
            if start is None and counts[index] >= _FEWEST:
                start = index
        elif start is not None:
            best = max(best, (start, index), key=lambda run: run[1] - run[0])
            start = None
    return best


def _names_above(rows: Sequence[Sequence[str]], start: int) -> tuple[int | None, int | None]:
    """Rows of the names and of the units above the first row with values; rules of dashes are passed over."""
    width = max(len(without_empty_end(row)) for row in rows[start : start + _ROWS_OF_WIDTH])
    above = [i for i in range(start - 1, -1, -1) if any(character.isalnum() for cell in rows[i] for character in cell)]
    if not above or not _can_be_names(rows[above[0]], width):
        if above and _is_row_of_units(rows[above[0]]) and len(above) > 1 and _can_be_names(rows[above[1]], width):
            return above[1], above[0]
        return None, None
    if len(above) > 1 and _is_row_of_units(rows[above[0]]) and _can_be_names(rows[above[1]], width):
        return above[1], above[0]
    return above[0], None


def _earlier_names(rows: Sequence[Sequence[str]], counts: Sequence[int], start: int, width: int) -> int | None:
    """Row of names further up, from which a row that is no values parts the longest run."""

    def has_values_below(index: int) -> bool:
        return any(counts[i] >= _FEWEST and len(rows[i]) == width for i in range(index + 1, min(start, index + 4)))

    return next((i for i in range(start - 1) if _can_be_names(rows[i], width) and has_values_below(i)), None)


def _can_be_names(row: Sequence[str], width: int) -> bool:
    """As many cells as the rows have, perhaps without the last one, and hardly any number among them."""
    cells = without_empty_end(row)
    return len(cells) >= max(2, width - 1) and _numbers(cells) <= len(cells) // 4


def _is_row_of_units(row: Sequence[str]) -> bool:
    cells = [cell for cell in row if cell]
    units = sum(1 for cell in cells if is_unit(cell) or (cell.startswith("[") and cell.endswith("]")))
    return len(cells) >= 2 and units >= 0.7 * len(cells)


def _nested(rows: Sequence[Sequence[str]], header: int) -> int:
    leading = [
        next((index for index, cell in enumerate(row) if cell), 0) for row in rows[max(0, header - 1) : header + 1]
    ]
    return leading[-1] if leading[-1] and leading[0] == leading[-1] - 1 else 0
