"""Divide a file into pieces that fit into memory, each as the reader's table and as it is to be written again."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vestim_pl.data.formats.raw_table import RawTable, row_in_file
from vestim_pl.data.formats.reading import read_table
from vestim_pl.data.formats.units import split_unit
from vestim_pl.data.preparation import PreparationSettings
from vestim_pl.deploy.table_files import read_batches
from vestim_pl.errors import DataError

__all__ = ["Piece", "count_rows", "pieces"]

ROWS = 250_000  # in memory at once: three days at one row a second


@dataclass(frozen=True)
class Piece:
    """Rows of a file.

    Attributes:
        raw: What is to be prepared.
        written: The new rows with all columns of the file, as they are to be written again.
        carried: Whether the first row of ``raw`` is the last one of the piece before.

    """

    raw: RawTable
    written: pa.Table
    carried: bool = False


def pieces(path: Path, label: str, settings: PreparationSettings, *, as_text: bool = False) -> Iterator[Piece]:
    """Yield the pieces of a file; one for a file of at most 250,000 rows.

    Larger Parquet and plain CSV files are read in pieces, unless a step of the preparation needs all rows, as the
    counting of SOC and the resampling do.

    Args:
        path: The file.
        label: Its name in messages.
        settings: How it is prepared.
        as_text: Whether the cells of a text file are written again as they are; else as numbers.

    Raises:
        DataError: If the file cannot be read.

    """
    if path.suffix.lower() in (".parquet", ".csv") and count_rows(path) > ROWS and _row_by_row(settings):
        yield from _in_pieces(path, label, as_text)
        return
    raw = read_table(path, label, settings.files)
    written = _as_in_file(path, raw) if as_text or path.suffix.lower() == ".parquet" else None
    yield Piece(raw, pa.table({name: _array(raw.frame[name]) for name in raw.frame}) if written is None else written)


def count_rows(path: Path) -> int:
    """Return the rows of a file without reading its values, of a text file its lines; 0 where only its reader knows."""
    try:
        if path.suffix.lower() == ".parquet":
            return int(pq.ParquetFile(path).metadata.num_rows)
        if path.suffix.lower() != ".csv":
            return 0
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except (OSError, pa.ArrowException):
        return 0


def _row_by_row(settings: PreparationSettings) -> bool:
    """Whether a prepared row depends on its own row and the one before alone."""
    with_memory = (settings.resample, settings.trim_rest, settings.soc.capacity_ah)
    return not settings.derived and all(setting is None for setting in with_memory)


def _in_pieces(path: Path, label: str, as_text: bool) -> Iterator[Piece]:
    batches: list[pa.Table] = []
    last, first = None, 0
    is_text = path.suffix.lower() == ".csv"
    numbers: list[str] | None = None  # columns of a text file that are numbers, by its first piece
    for batch in chain(read_batches(path, label), [None]):
        if batch is not None:
            batches.append(batch)
        if batches and (batch is None or sum(each.num_rows for each in batches) >= ROWS):
            written, batches = pa.concat_tables(batches), []
            frame = written.to_pandas(ignore_metadata=True)
            if is_text:
                frame = frame.apply(_numbers)
                numbers = [name for name in frame if frame[name].dtype.kind in "if"] if numbers is None else numbers
            if is_text and not as_text:
                written = _typed(frame, written, numbers or [], label)
            carried = frame if last is None else pd.concat([last, frame], ignore_index=True)
            yield Piece(_raw(carried, first - int(last is not None)), written, last is not None)
            last, first = frame.tail(1), first + len(frame)


def _typed(frame: pd.DataFrame, text: pa.Table, numbers: list[str], label: str) -> pa.Table:
    """Return a text file's columns as numbers, those that are numbers in all pieces alike."""
    for name in numbers:
        if frame[name].dtype.kind not in "if":
            raise DataError(
                f"{label}: column {name!r} begins with numbers and has other text later, which format=parquet cannot"
                " hold; use format=csv"
            )
    columns = {name: pa.array(frame[name].to_numpy(float)) if name in numbers else text[name] for name in frame}
    return pa.table(columns)


def _raw(frame: pd.DataFrame, first: int) -> RawTable:
    names = [str(name) for name in frame.columns]
    units = {name: unit for name in names if (unit := split_unit(name)[1])}
    return RawTable(frame, names, units, "Parquet or CSV", where=lambda row: row_in_file(first + row))


def _numbers(column: pd.Series) -> pd.Series:
    """Return the numbers of a column of text; one with other text stays as it is."""
    try:
        return pd.to_numeric(column)
    except ValueError:
        return column


def _as_in_file(path: Path, raw: RawTable) -> pa.Table | None:
    """Return all columns as they are in a Parquet or plain CSV file; None for what only its reader understands."""
    if path.suffix.lower() not in (".parquet", ".csv"):
        return None
    try:
        table = pa.concat_tables(read_batches(path))
    except DataError:
        return None
    return table if table.column_names == raw.names and table.num_rows == len(raw.frame) else None


def _array(column: pd.Series) -> pa.Array:
    """Return a column as it is, or as text where its cells are of several kinds, as in a workbook."""
    try:
        return pa.Array.from_pandas(column)
    except pa.ArrowException:
        return pa.array([None if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)])
