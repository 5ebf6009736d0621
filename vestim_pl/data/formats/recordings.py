"""Read one recording, and refuse it in one line if a network cannot learn from it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.quantities import find_columns
from vestim_pl.data.formats.raw_table import LEAVE_OUT, FileOptions, RawTable
from vestim_pl.data.formats.reading import read_table
from vestim_pl.data.formats.text_layout import find_encoding
from vestim_pl.data.formats.times import seconds
from vestim_pl.data.formats.units import Unit, unit_of
from vestim_pl.errors import DataError

__all__ = ["Recording", "read_recording", "rows_at_most"]


class Recording(NamedTuple):
    """One checked recording: all values are finite and time increases.

    Attributes:
        inputs: ``[n, F]`` float32 features in physical units.
        target: ``[n]`` float32 terminal voltage in volts.
        time: ``[n]`` float64 seconds; dates become seconds since the first row.

    """

    inputs: NDArray[np.float32]
    target: NDArray[np.float32]
    time: NDArray[np.float64]


def read_recording(
    path: Path,
    columns: Columns,
    features: Sequence[str],
    minimum_rows: int = 1,
    reason: str = "",
    label: str = "",
    options: FileOptions | None = None,
) -> Recording:
    """Read and check one file.

    Args:
        path: File in a format that `read_table` reads.
        columns: Column of each quantity; only time, voltage and the features are read.
        features: Input columns, in this order.
        minimum_rows: Smallest usable number of rows.
        reason: Setting that requires so many rows, for the message: ``"sampling.lookback=200"``.
        label: Name of the file in messages; the path by default.
        options: What the user says about the file.

    Raises:
        DataError: One line with file, column, row and a fix, if the file is unreadable, empty or too short, lacks a
            column, has text, NaN or Inf, a unit that is not the standard one, or if time does not increase.

    """
    label = label or str(path)
    table = read_table(path, label, options, columns, features)
    found = find_columns(table.names, table.units, columns, label)
    roles = {getattr(columns, quantity): quantity for quantity in ("time", "voltage", "current", "temperature", "soc")}
    found.require(["time", "voltage", *(roles[name] for name in features if name in roles)], features)
    rows = len(table.frame)
    if rows == 0:
        raise DataError(f"{label}: has no rows; remove the file, {LEAVE_OUT}")
    if rows < minimum_rows:
        raise DataError(
            f"{label}: has {rows} rows but {reason or 'the sampling'} needs at least {minimum_rows}; "
            f"choose a smaller value, remove the file, {LEAVE_OUT}"
        )
    inputs = np.empty((rows, len(features)), dtype=np.float32)
    for index, column in enumerate(features):
        inputs[:, index] = _finite(table, found.resolve(column), label)
    target = _finite(table, found.columns["voltage"], label)
    return Recording(inputs, target, _increasing(table, found.columns["time"], label, options))


def rows_at_most(path: Path, columns: Columns) -> int:
    """Return an upper bound of a file's rows, for text and Parquet without reading values; 0 if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            if head.startswith(b"PAR1"):
                return int(pq.ParquetFile(path).metadata.num_rows)
            if find_encoding(head) == "utf-8":
                blocks = iter(lambda: file.read(1 << 20), b"")
                return sum(max(block.count(b"\n"), block.count(b"\r")) for block in (head, *blocks)) + 1
        return len(read_table(path, wanted=columns).frame)
    except (OSError, pa.ArrowException, DataError):
        return 0


def _numbers(table: RawTable, column: str, label: str) -> NDArray[np.float64]:
    """Return a column as float64, with NaN for missing values."""
    values = table.frame[column]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if pd.api.types.is_datetime64_any_dtype(values) or pd.api.types.is_timedelta64_dtype(values):
        raise DataError(f"{label}: column {column!r} has dates, not numbers; convert it to numbers, {LEAVE_OUT}")
    parsed = pd.to_numeric(values, errors="coerce")
    bad = np.flatnonzero((parsed.isna() & values.notna()).to_numpy())
    text = np.flatnonzero([isinstance(value, str) for value in values])
    if bad.size or text.size:
        row = int(bad[0] if bad.size else text[0])
        raise DataError(
            f"{label}: column {column!r}, {table.where(row)} is not a number but {str(values.iloc[row])!r}; correct it "
            f"(numbers need a decimal point and must not be stored as text), {LEAVE_OUT}"
        )
    return parsed.to_numpy(dtype=np.float64, na_value=np.nan)


def _finite(table: RawTable, column: str, label: str) -> NDArray[np.float32]:
    """Return a column as float32; refuse values that are not finite, and other units than the standard ones."""
    unit = unit_of(column, table.units)
    if unit is not None and unit not in (Unit.AMPERE, Unit.VOLT, Unit.CELSIUS, Unit.ONE):
        raise DataError(f"{label}: column {column!r} is in {unit}; convert it to A, V, degC or 1, {LEAVE_OUT}")
    numbers = _numbers(table, column, label)
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(single))
    if bad.size:
        row = int(bad[0])
        found = "NaN or missing" if np.isnan(numbers[row]) else f"{'-' if numbers[row] < 0 else ''}Inf"
        if np.isfinite(numbers[row]):
            found = f"{numbers[row]:g}, beyond single precision"
        raise DataError(
            f"{label}: column {column!r}, {table.where(row)} is {found} ({bad.size} such of {len(single)} rows); "
            f"fix or remove these rows, {LEAVE_OUT}"
        )
    return single


def _increasing(table: RawTable, column: str, label: str, options: FileOptions | None) -> NDArray[np.float64]:
    """Return the time in seconds, and refuse values that are not finite or do not increase."""
    order = None if options is None else options.date_order
    time = seconds(table.frame[column], label, column, unit_of(column, table.units), order, table.where)
    missing = np.flatnonzero(~np.isfinite(time))
    if missing.size:
        raise DataError(
            f"{label}: column {column!r}, {table.where(int(missing[0]))} is not a finite time; "
            f"fix or remove the row, {LEAVE_OUT}"
        )
    back = np.flatnonzero(np.diff(time) <= 0)
    if back.size:
        row = int(back[0]) + 1
        raise DataError(
            f"{label}: column {column!r}, {table.where(row)}: time does not increase ({time[row]:g} after "
            f"{time[row - 1]:g}); sort the rows by time, remove repeated ones, {LEAVE_OUT}"
        )
    return time
