"""Read the table of a text file with pandas."""

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.quantities import columns_to_read, number_doubled
from vestim_pl.data.formats.raw_table import LEAVE_OUT, FileOptions, RawTable, row_in_file
from vestim_pl.data.formats.testers import tester_of
from vestim_pl.data.formats.text_layout import HEAD, SPACES, TextLayout, find_layout
from vestim_pl.data.formats.units import units_of_names
from vestim_pl.errors import DataError, printable

__all__ = ["is_gzip", "read_text"]

_MOST_UNPACKED = 1 << 32


def read_text(
    path: Path, label: str, options: FileOptions, wanted: Columns | None = None, extra: Sequence[str] = ()
) -> RawTable:
    """Read a text file, packed with gzip or not; the arguments are those of `read_table`."""
    with _opened(path, label) as file:
        head = file.read(HEAD + 1)
    layout = find_layout(head[:HEAD], len(head) <= HEAD, label, options)
    # A row may end in a separator. The fields beyond the names are read only to see that they are empty.
    beyond = max(0, layout.width - len(layout.names)) + 1
    names = number_doubled(layout.names)
    units = units_of_names(names) | {name: unit for name, unit in zip(names, layout.units, strict=False) if unit}
    chosen = columns_to_read(names, units, wanted, extra)
    positions = sorted({*(names.index(name) for name in chosen), *range(len(names), len(names) + beyond)})
    with _opened(path, label) as file, _faults_by_row(label):
        rows, where = _rows(file, layout)
        frame = pd.read_csv(
            _Headed(rows, len(names) + beyond, " " if layout.separator == SPACES else layout.separator),
            usecols=positions,
            index_col=False,
            sep=r"\s+" if layout.separator == SPACES else layout.separator,
            decimal=layout.decimal,
            skipinitialspace=True,
            low_memory=False,
        )
    chosen_rows = frame.iloc[:, : len(chosen)].set_axis(chosen, axis="columns")
    written = "CSV" if layout.separator == "," else "Text"
    tester = tester_of(names)
    kind = f"{written} ({tester})" if tester else written
    table = RawTable(chosen_rows, names, units, kind, layout.notes, layout.first_line)
    table.where = where or partial(_line_of, path, layout)
    _refuse_beyond(frame.iloc[:, len(chosen) :], table, label, layout)
    return table


def is_gzip(head: bytes) -> bool:
    """Whether a file is packed with gzip."""
    return head.startswith(b"\x1f\x8b")


@contextmanager
def _faults_by_row(label: str) -> Iterator[None]:
    """Name the row where pandas gives up, counted as ours are: without the line of names."""
    try:
        yield
    except pd.errors.ParserError as error:
        if (row := re.search(r"EOF inside string starting at row (\d+)", str(error))) is None:
            raise
        raise DataError(
            f"{label}: {row_in_file(int(row[1]) - 1)} opens a quotation mark that is never closed; correct it, "
            f"{LEAVE_OUT}"
        ) from None


def _refuse_beyond(fields: pd.DataFrame, table: RawTable, label: str, layout: TextLayout) -> None:
    filled = fields.notna().any(axis=1)
    if filled.any():
        row = int(np.flatnonzero(filled.to_numpy())[0])
        found = printable(str(fields.iloc[row].dropna().iloc[0])[:60])
        raise DataError(
            f"{label}: {table.where(row)} has more fields than there are names ({found!r} is beyond the last of "
            f"{len(layout.names)} names), so which column is which is not certain; correct the header or the rows, "
            f"{LEAVE_OUT}"
        )


def _opened(path: Path, label: str) -> IO[bytes]:
    with path.open("rb") as file:
        packed = is_gzip(file.read(2))
    return io.BufferedReader(_Bounded(path, label)) if packed else path.open("rb")


class _Bounded(io.RawIOBase):
    """A gzip file that ends in an error where it unpacks to more than the limit."""

    def __init__(self, path: Path, label: str) -> None:
        self.file, self.label, self.size = gzip.GzipFile(path), label, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.file.read(len(buffer))
        except (EOFError, zlib.error) as error:
            raise DataError(f"{self.label}: is a damaged gzip file ({error}); pack it again, {LEAVE_OUT}") from None
        self.size += len(data)
        if self.size > _MOST_UNPACKED:
            raise DataError(
                f"{self.label}: unpacks to more than {_MOST_UNPACKED >> 30} GiB; split the file, {LEAVE_OUT}"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


class _Headed(io.TextIOBase):
    """A text with a header in front, because pandas refuses rows that are all shorter than the names it is given."""

    def __init__(self, text: io.TextIOBase, columns: int, separator: str) -> None:
        self.header, self.text = separator.join(map(str, range(columns))) + "\n", text

    def read(self, size: int | None = -1, /) -> str:
        header, self.header = self.header, ""
        return header or self.text.read(size)


def _text(file: IO[bytes], layout: TextLayout) -> io.TextIOWrapper:
    """The text from the first row on."""
    text = io.TextIOWrapper(file, encoding=layout.encoding, errors="replace")
    for _ in range(layout.first_line - 1):
        text.readline()
    return text


def _rows(file: IO[bytes], layout: TextLayout) -> tuple[io.TextIOBase, Callable[[int], str] | None]:
    """The rows as a text; of nested ones, only the records, without the empty fields in front of them."""
    text = _text(file, layout)
    if not layout.nested:
        return text, None
    before = layout.separator * layout.nested
    records, lines = [], []
    for number, line in enumerate(text, start=layout.first_line):
        if line.startswith(before) and not line.startswith(before + layout.separator):
            records.append(line[layout.nested :])
            lines.append(number)
    return io.StringIO("".join(records)), lambda row: row_in_file(row, lines[row])


def _line_of(path: Path, layout: TextLayout, row: int) -> str:
    with _opened(path, str(path)) as file:
        filled = (number for number, line in enumerate(_text(file, layout), start=layout.first_line) if line.strip())
        for index, number in enumerate(filled):
            if index == row:
                return row_in_file(row, number)
    return row_in_file(row)
