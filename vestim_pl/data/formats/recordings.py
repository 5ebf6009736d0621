"""Read one recording from Parquet or CSV, and refuse it in one line if a network cannot learn from it."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vestim_pl.data.columns import Columns
from vestim_pl.errors import DataError
from vestim_pl.settings.names import nearest_name

__all__ = ["SUFFIXES", "Recording", "read_recording", "rows_at_most"]

SUFFIXES = (".parquet", ".csv")
_LEAVE_OUT = "or leave the file out with data.on_bad_file=skip"


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
    path: Path, columns: Columns, features: Sequence[str], minimum_rows: int = 1, reason: str = "", label: str = ""
) -> Recording:
    """Read and check one file.

    Args:
        path: A ``.parquet`` file, or a ``.csv`` file with a header line.
        columns: Column of each quantity; only time, voltage and the features are read.
        features: Input columns, in this order.
        minimum_rows: Smallest usable number of rows.
        reason: Setting that requires so many rows, for the message: ``"sampling.lookback=200"``.
        label: Name of the file in messages; the path by default.

    Raises:
        DataError: One line with file, column, row and a fix, if the file is unreadable, empty or too short, lacks a
            column, has text, NaN or Inf, or if time does not increase from row to row.

    """
    label = label or str(path)
    frame = _read_columns(path, label, columns, list(dict.fromkeys([columns.time, *features, columns.voltage])))
    rows = len(frame)
    if rows == 0:
        raise DataError(f"{label}: has no rows; remove the file, {_LEAVE_OUT}")
    if rows < minimum_rows:
        raise DataError(
            f"{label}: has {rows} rows but {reason or 'the sampling'} needs at least {minimum_rows}; "
            f"choose a smaller value, remove the file, {_LEAVE_OUT}"
        )
    inputs = np.empty((rows, len(features)), dtype=np.float32)
    for index, column in enumerate(features):
        inputs[:, index] = _finite(frame[column], label, column, path)
    target = _finite(frame[columns.voltage], label, columns.voltage, path)
    return Recording(inputs, target, _increasing(frame[columns.time], label, columns.time, path))


def rows_at_most(path: Path) -> int:
    """Return an upper bound of a file's rows without reading its values; 0 if the file cannot be read."""
    try:
        if path.suffix.lower() == ".parquet":
            return int(pq.ParquetFile(path).metadata.num_rows)
        with path.open("rb") as file:
            blocks = iter(lambda: file.read(1 << 20), b"")
            return sum(max(block.count(b"\n"), block.count(b"\r")) for block in blocks) + 1
    except (OSError, pa.ArrowException):
        return 0


def _read_columns(path: Path, label: str, columns: Columns, wanted: list[str]) -> pd.DataFrame:
    """Read the wanted columns, of any type."""
    try:
        if path.suffix.lower() == ".parquet":
            with pq.ParquetFile(path) as file:
                _check_columns(file.schema_arrow.names, label, columns, wanted)
                return file.read(columns=wanted).to_pandas(ignore_metadata=True)
        # Hand-written headers often have spaces around names, and Excel writes a byte order mark.
        header = pd.read_csv(path, nrows=0, encoding="utf-8-sig", skipinitialspace=True)
        _check_columns([str(name).strip() for name in header.columns], label, columns, wanted)
        frame = pd.read_csv(
            path,
            encoding="utf-8-sig",
            skipinitialspace=True,
            low_memory=False,
            usecols=lambda name: str(name).strip() in wanted,
        )
        frame.columns = frame.columns.str.strip()
        return frame
    except DataError:
        raise
    except pd.errors.EmptyDataError:
        raise DataError(f"{label}: is empty; remove the file, {_LEAVE_OUT}") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        found = " ".join(str(error).split())
        raise DataError(
            f"{label}: cannot be read ({found}); write it again as {' or '.join(SUFFIXES)}, {_LEAVE_OUT}"
        ) from error


def _check_columns(found: Sequence[str], label: str, columns: Columns, wanted: Sequence[str]) -> None:
    for column in wanted:
        if column in found:
            continue
        if len(found) == 1 and (";" in found[0] or "\t" in found[0]):
            raise DataError(f"{label}: columns are not separated by commas ({found[0]!r}); save the file with commas")
        setting = columns.setting_of(column)
        near = nearest_name(column, found)
        hint = f"the nearest is {near!r}: " if near else f"found {', '.join(map(repr, found))}: "
        remedy = f"name it by {setting}={near or '...'}" if setting != "data.features" else "correct data.features"
        raise DataError(f"{label}: column {column!r} is missing, {hint}{remedy}, or rename the column in the file")


def _at(row: int, path: Path) -> str:
    """Describe a row as the user can find it: counted from 0, with the line of a CSV file."""
    if path.suffix.lower() != ".csv":
        return f"row {row} (counted from 0)"
    with path.open(encoding="utf-8", errors="replace") as file:
        filled = (number for number, line in enumerate(file, start=1) if line.strip())
        return f"row {row} (line {next(islice(filled, row + 1, None), row + 2)} of the file)"


def _numbers(values: pd.Series, label: str, column: str, path: Path) -> NDArray[np.float64]:
    """Return a column as float64, with NaN for missing values."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if pd.api.types.is_datetime64_any_dtype(values):
        raise DataError(f"{label}: column {column!r} has dates, not numbers; convert it to numbers, {_LEAVE_OUT}")
    parsed = pd.to_numeric(values, errors="coerce")
    bad = np.flatnonzero((parsed.isna() & values.notna()).to_numpy())
    text = np.flatnonzero([isinstance(value, str) for value in values])
    if bad.size or text.size:
        row = int(bad[0] if bad.size else text[0])
        raise DataError(
            f"{label}: column {column!r}, {_at(row, path)} is not a number but {str(values.iloc[row])!r}; correct it "
            f"(numbers need a decimal point and must not be stored as text), {_LEAVE_OUT}"
        )
    return parsed.to_numpy(dtype=np.float64, na_value=np.nan)


def _finite(values: pd.Series, label: str, column: str, path: Path) -> NDArray[np.float32]:
    """Return a column as float32, and refuse values that are not finite in it."""
    numbers = _numbers(values, label, column, path)
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(single))
    if bad.size:
        row = int(bad[0])
        found = "NaN or missing" if np.isnan(numbers[row]) else f"{'-' if numbers[row] < 0 else ''}Inf"
        if np.isfinite(numbers[row]):
            found = f"{numbers[row]:g}, beyond single precision"
        raise DataError(
            f"{label}: column {column!r}, {_at(row, path)} is {found} ({bad.size} such of {len(single)} rows); "
            f"fix or remove these rows, {_LEAVE_OUT}"
        )
    return single


def _increasing(values: pd.Series, label: str, column: str, path: Path) -> NDArray[np.float64]:
    """Return the time in seconds, and refuse values that are not finite or do not increase."""
    if pd.api.types.is_string_dtype(values) or values.dtype == object:
        dates = pd.to_datetime(values, errors="coerce", format="ISO8601")
        values = dates if dates.notna().any() else values
    if pd.api.types.is_datetime64_any_dtype(values):
        missing = np.flatnonzero(values.isna().to_numpy())
        time = (values - values.iloc[0]).dt.total_seconds().to_numpy(dtype=np.float64)
    else:
        time = _numbers(values, label, column, path)
        missing = np.flatnonzero(~np.isfinite(time))
    if missing.size:
        raise DataError(
            f"{label}: column {column!r}, {_at(int(missing[0]), path)} is not a finite time; "
            f"fix or remove the row, {_LEAVE_OUT}"
        )
    back = np.flatnonzero(np.diff(time) <= 0)
    if back.size:
        row = int(back[0]) + 1
        raise DataError(
            f"{label}: column {column!r}, {_at(row, path)}: time does not increase ({time[row]:g} after "
            f"{time[row - 1]:g}); sort the rows by time, remove repeated ones, {_LEAVE_OUT}"
        )
    return time
