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


def pieces(path: Path, label: str, settings: PreparationSettings) -> Iterator[Piece]:
    """Yield the pieces of a file; one for a file of at most 250,000 rows.

    Larger Parquet and plain CSV files are read in pieces, unless a step of the preparation needs all rows, as the
    counting of SOC and the resampling do.

    Args:
        path: The file.
        label: Its name in messages.
        settings: How it is prepared.

    Raises:
        DataError: If the file cannot be read.

    """
    if path.suffix.lower() in (".parquet", ".csv") and count_rows(path) > ROWS and _row_by_row(settings):
        yield from _in_pieces(path, label)
        return
    raw = read_table(path, label, settings.files)
    yield Piece(raw, _as_in_file(path, raw))


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


def _in_pieces(path: Path, label: str) -> Iterator[Piece]:
    batches: list[pa.Table] = []
    last, first = None, 0
    for batch in chain(read_batches(path, label), [None]):
        if batch is not None:
            batches.append(batch)
        if batches and (batch is None or sum(each.num_rows for each in batches) >= ROWS):
            written, batches = pa.concat_tables(batches), []
            frame = written.to_pandas(ignore_metadata=True)
            if path.suffix.lower() == ".csv":
                frame = frame.apply(_numbers)
            carried = frame if last is None else pd.concat([last, frame], ignore_index=True)
            yield Piece(_raw(carried, first - int(last is not None)), written, last is not None)
            last, first = frame.tail(1), first + len(frame)


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


def _as_in_file(path: Path, raw: RawTable) -> pa.Table:
    """Return all columns as they are in a Parquet or plain CSV file, or else as the reader found them."""
    if path.suffix.lower() in (".parquet", ".csv"):
        try:
            table = pa.concat_tables(read_batches(path))
        except DataError:  # text that only the reader of all kinds of text understands
            table = None
        if table is not None and table.column_names == raw.names and table.num_rows == len(raw.frame):
            return table
    return pa.table({name: _array(raw.frame[name]) for name in raw.frame})


def _array(column: pd.Series) -> pa.Array:
    """Return a column as it is, or as text where its cells are of several kinds, as in a workbook."""
    try:
        return pa.Array.from_pandas(column)
    except pa.ArrowException:
        return pa.array([None if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)])
