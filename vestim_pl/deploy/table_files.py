"""Read a table in batches of rows and write it again with further columns, so that no file need fit into memory."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from vestim_pl.errors import DataError

__all__ = ["BATCH", "Format", "read_batches", "write_batches"]

BATCH = 65_536  # rows
_BLOCK = 1 << 22  # bytes of a text file read at once

Format = Literal["parquet", "csv"]


def read_batches(path: Path, label: str = "") -> Iterator[pa.Table]:
    r"""Yield all columns of a Parquet or CSV file in batches of rows; the cells of a CSV stay text.

    Args:
        path: The file.
        label: Name of the file in messages.

    Raises:
        DataError: If the file cannot be read, with the reason in one line.

    Example::

        >>> _ = Path("a.csv").write_text("Time,Temp\n0,25.10\n1,\n")
        >>> [batch.to_pydict() for batch in read_batches(Path("a.csv"))]
        [{'Time': ['0', '1'], 'Temp': ['25.10', '']}]

    """
    label = label or str(path)
    try:
        yield from _parquet(path) if path.suffix.lower() == ".parquet" else _text(path)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{label}: cannot be read ({reason}); write the file again") from error


def write_batches(path: Path, kind: Format, batches: Iterable[pa.Table]) -> None:
    """Write a table that comes in batches.

    Args:
        path: The file, in an existing folder.
        kind: ``parquet`` or ``csv``.
        batches: Rows with the same columns each; at least one batch.

    """
    rest = iter(batches)
    first = next(rest)
    if kind == "parquet":
        with pq.ParquetWriter(path, first.schema) as writer:
            for batch in chain([first], rest):
                writer.write_table(batch)
        return
    with path.open("wb") as file:
        file.write(_lines(pa.table({name: [name] for name in first.column_names})))
        for batch in chain([first], rest):
            file.write(_lines(batch))


def _parquet(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        empty = True
        for batch in file.iter_batches(batch_size=BATCH):
            empty = False
            yield pa.Table.from_batches([batch])
        if empty:
            yield file.schema_arrow.empty_table()


def _text(path: Path) -> Iterator[pa.Table]:
    names = _header(path)
    if len(set(names)) < len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise pa.ArrowInvalid(f"several columns are named {doubled!r}")
    options = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    reading = pacsv.ReadOptions(block_size=_BLOCK, column_names=names, skip_rows=1, use_threads=False)
    empty = True
    try:
        with pacsv.open_csv(path, reading, convert_options=options) as reader:
            for batch in reader:
                empty = False
                yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        if "Empty CSV file" not in str(error):
            raise
    if empty:
        yield pa.table({name: pa.array([], pa.string()) for name in names})


def _header(path: Path) -> list[str]:
    """Return the names in the first line; hand-written ones have spaces around, and Excel writes a byte order mark."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = [name.strip() for name in next(csv.reader(file, skipinitialspace=True), [])]
    if not names:
        raise pa.ArrowInvalid("the file is empty")
    return names


def _lines(batch: pa.Table) -> bytes:
    r"""Return the rows as lines; Arrow's own writer would put quotes around every text.

    Example::

        >>> _lines(pa.table({"a": ["1.50", 'the "first", old'], "b": pa.array([0.5, None])}))
        b'1.50,0.5\n"the ""first"", old",\n'

    """
    if not batch.num_rows:
        return b""
    rows = pc.binary_join_element_wise(*(_cells(column) for column in batch.columns), ",")
    return ("\n".join(rows.to_pylist()) + "\n").encode()


def _cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.fill_null(pc.cast(column, pa.string()), "")
    special = pc.match_substring_regex(text, '[",\r\n]')
    if not pc.any(special).as_py():
        return text
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(text, '"', '""'), '"', "")
    return pc.if_else(special, quoted, text)
