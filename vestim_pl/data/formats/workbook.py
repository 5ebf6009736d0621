"""Read the sheet of an Excel workbook that has the columns."""

import datetime
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from vestim_pl.data.columns import Columns
from vestim_pl.data.fixes import FixableError
from vestim_pl.data.formats.foreign import check_zip, faults_as_one_line, needed
from vestim_pl.data.formats.quantities import columns_to_read, count_quantities, number_doubled
from vestim_pl.data.formats.raw_table import LEAVE_OUT, FileOptions, RawTable
from vestim_pl.data.formats.table_finder import FoundTable, find_table
from vestim_pl.data.formats.units import units_of_names
from vestim_pl.errors import DataError
from vestim_pl.settings.override import Override

__all__ = ["read_workbook"]

_FIRST_LOOK = 300
_MOST_CELLS = 60_000_000
_SUMMARY = re.compile(r"(?i)statistic|summary|cycle|step|info|log|unit")
_CONTINUED = re.compile(r"(.+\d)_(\d+)")
_CELL = re.compile(rb'<c r="([A-Z]+)\d+"')
_ROW = re.compile(rb'<row[^>]* r="(\d+)"')


@dataclass(frozen=True)
class _Sheet:
    """A sheet with a table."""

    sheet: Any  # CalamineSheet
    found: FoundTable
    names: list[str]
    units: dict[str, str]

    def rows(self) -> Iterator[list[Any]]:
        return islice(self.sheet.iter_rows(), self.found.start, None)


def read_workbook(
    path: Path, label: str, options: FileOptions, wanted: Columns | None = None, extra: Sequence[str] = ()
) -> RawTable:
    """Read a workbook; the arguments are those of `read_table`.

    The sheet is the one with most quantities. A long recording that Arbin continues in further sheets is read as one.
    """
    calamine = needed("python_calamine", "excel", label)
    with faults_as_one_line(label, "a workbook"), path.open("rb") as file:
        _check_size(path, label)
        try:
            book = calamine.CalamineWorkbook.from_filelike(file)
        except calamine.PasswordError:
            raise DataError(f"{label}: has a password; save it without one, {LEAVE_OUT}") from None
        sheets = _choose(_sheets(book, label, options), label, options, wanted)
        names, units = sheets[0].names, sheets[0].units
        chosen = columns_to_read(names, units, wanted, extra)
        frame = pd.concat([_frame(sheet, chosen) for sheet in sheets], ignore_index=True)
    notes = [f"Table in the sheet {' and '.join(repr(sheet.sheet.name) for sheet in sheets)}."]
    header, start = sheets[0].found.header, sheets[0].found.start
    if header:
        notes.append(f"Names in row {header + 1}.")
    table = RawTable(frame, names, units, "workbook", notes, start + 1)
    table.where = lambda row: f"row {row} (row {start + 1 + row} of the sheet)"
    return table


def _sheets(book: Any, label: str, options: FileOptions) -> list[_Sheet]:
    if options.sheet is not None and options.sheet not in book.sheet_names:
        some = ", ".join(map(repr, book.sheet_names[:20]))
        raise DataError(f"{label}: has no sheet {options.sheet!r}; set data.sheet to one of {some}, {LEAVE_OUT}")
    found = []
    for name in book.sheet_names if options.sheet is None else [options.sheet]:
        sheet = book.get_sheet_by_name(name)
        cells = [[_text(cell) for cell in row] for row in islice(sheet.iter_rows(), _FIRST_LOOK)]
        table = find_table(cells)
        if table is not None and table.header is not None:
            names = number_doubled(cells[table.header])
            row = cells[table.units] if table.units is not None else []
            units = units_of_names(names) | {name: unit for name, unit in zip(names, row, strict=False) if unit}
            found.append(_Sheet(sheet, table, names, units))
    return found


def _choose(sheets: list[_Sheet], label: str, options: FileOptions, wanted: Columns | None) -> list[_Sheet]:
    """Return the sheet with the recording; several if they continue each other."""
    if not sheets:
        raise DataError(
            f"{label}: no sheet has a table, which is names above rows of numbers; correct the file, {LEAVE_OUT}"
        )
    counts = [count_quantities(sheet.names, wanted) for sheet in sheets]
    best = [sheet for sheet, count in zip(sheets, counts, strict=True) if count == max(counts)]
    best = [sheet for sheet in best if not _SUMMARY.search(sheet.sheet.name)] or best
    if len(best) == 1 or _continue_each_other(best):
        return best
    choices = [Override("data.sheet", sheet.sheet.name) for sheet in best[:4]]
    raise FixableError(
        f"{label}: {len(best)} sheets have a table with the same quantities; choose one with "
        f"{' or '.join(map(str, choices))}, {LEAVE_OUT}",
        guesses=choices[:1],
    )


def _continue_each_other(sheets: Sequence[_Sheet]) -> bool:
    """Whether sheets are parts of one recording: ``Channel_1-008_1``, ``Channel_1-008_2`` with the same names."""
    parts = [part for sheet in sheets if (part := _CONTINUED.fullmatch(sheet.sheet.name))]
    numbers = [int(part[2]) for part in parts]
    one_stem = len(parts) == len(sheets) and len({part[1] for part in parts}) == 1
    return (
        one_stem and numbers == list(range(1, len(sheets) + 1)) and len({tuple(sheet.names) for sheet in sheets}) == 1
    )


def _frame(sheet: _Sheet, chosen: Sequence[str]) -> pd.DataFrame:
    positions = [sheet.names.index(name) for name in chosen]
    cells: list[list[Any]] = [[] for _ in chosen]
    for row in sheet.rows():
        if any(cell != "" for cell in row):
            for column, position in zip(cells, positions, strict=True):
                value = row[position] if position < len(row) else ""
                column.append(None if value == "" else value)
    return pd.DataFrame({name: pd.Series(values).infer_objects() for name, values in zip(chosen, cells, strict=True)})


def _text(cell: Any) -> str:
    """A cell as a text file would have it."""
    if isinstance(cell, datetime.datetime):
        return cell.isoformat(" ")
    return "0:00:00" if isinstance(cell, datetime.timedelta) else str(cell).strip()


def _check_size(path: Path, label: str) -> None:
    """Refuse a workbook that would need very much memory, because the whole area of a sheet is held as cells."""
    if not zipfile.is_zipfile(path):
        return
    members = [name for name in check_zip(path, label) if name.startswith("xl/worksheets/") and name.endswith(".xml")]
    with zipfile.ZipFile(path) as archive:
        for member in members:
            columns, rows = {b"A"}, 1
            with archive.open(member) as file:
                while block := file.read(1 << 22):
                    columns.update(_CELL.findall(block))
                    rows = max(rows, *map(int, _ROW.findall(block)[-1:]), 1)
            width = max(map(_column_number, columns))
            if rows * width > _MOST_CELLS:
                raise DataError(
                    f"{label}: {member} has an area of {rows:,} rows and {width:,} columns; export it as CSV, "
                    f"{LEAVE_OUT}"
                )


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + letter - 64
    return number
