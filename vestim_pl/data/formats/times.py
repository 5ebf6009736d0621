"""Read times in the ways that files write them, and return seconds."""

import datetime
import re
import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vestim_pl.data.fixes import FixableError
from vestim_pl.data.formats.raw_table import LEAVE_OUT
from vestim_pl.data.formats.units import Unit
from vestim_pl.errors import DataError, printable
from vestim_pl.settings.override import Override

__all__ = ["DateOrder", "seconds"]

DateOrder = Literal["day_first", "month_first"]
_SECONDS = {
    Unit.SECOND: 1.0,
    Unit.MILLISECOND: 1e-3,
    Unit.MICROSECOND: 1e-6,
    Unit.NANOSECOND: 1e-9,
    Unit.MINUTE: 60.0,
    Unit.HOUR: 3600.0,
    Unit.DAY: 86_400.0,
}
_CLOCK = re.compile(r"\s*(?:(?P<days>\d+)\s*(?:d|days?|[:.-])\s*)?(?P<clock>\d+:\d{1,2}:\d{1,2}(?:[.,]\d+)?)\s*")
_DAY_AND_MONTH = re.compile(r"^(?P<first>\d{1,2})[/-](?P<second>\d{1,2})[/-]\d")
_MONTHS = 12
_TWO_PARTS = re.compile(r"\d+:\d\d(?:[.,]\d+)?")


def _plain(row: int) -> str:
    return f"row {row} (counted from 0)"


def seconds(
    values: pd.Series,
    label: str,
    column: str,
    unit: Unit | None = None,
    date_order: DateOrder | None = None,
    where: Callable[[int], str] = _plain,
) -> NDArray[np.float64]:
    """Return a column of times in seconds.

    Numbers are multiplied by their unit. Clock times (``24:00:05.5``, ``0d 00:01:00``, ``1.02:03:04``), dates and
    durations are seconds whatever the unit; dates count from the first row. Whether times increase is not checked.

    Args:
        values: The column.
        label: Name of the file for messages.
        column: Name of the column for messages.
        unit: Unit of numbers; seconds by default.
        date_order: Order of day and month in dates such as 03/04/2031.
        where: Describes a row for messages.

    Returns:
        ``[n]`` seconds, NaN where the value is missing.

    Raises:
        DataError: If a value is no time, or dates can be read in two ways that differ.

    Example::

        >>> seconds(pd.Series(["23:59:59", "24:00:00.5", "1d 00:00:02"]), "r.csv", "Time").tolist()
        [86399.0, 86400.5, 86402.0]
        >>> seconds(pd.Series([0.0, 0.5]), "r.csv", "Time / h", Unit.HOUR).tolist()
        [0.0, 1800.0]

    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_timedelta64_dtype(values):
        return _of_durations(values)
    if pd.api.types.is_datetime64_any_dtype(values):
        return _of_dates(values)
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_complex_dtype(values):
        raise DataError(f"{label}: column {column!r} has no times but {values.dtype}; name another column, {LEAVE_OUT}")
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan) * _SECONDS[unit or Unit.SECOND]
    try:
        return _of_objects(values, label, column, unit, date_order, where)
    except (pd.errors.OutOfBoundsDatetime, pd.errors.OutOfBoundsTimedelta, OverflowError) as error:
        raise DataError(
            f"{label}: column {column!r} has a time beyond all dates ({printable(str(error)[:80])}); correct the row, "
            f"{LEAVE_OUT}"
        ) from None


def _of_objects(
    values: pd.Series,
    label: str,
    column: str,
    unit: Unit | None,
    date_order: DateOrder | None,
    where: Callable[[int], str],
) -> NDArray[np.float64]:
    """Read text, and the objects of a workbook."""
    present = values.notna()
    kinds = {type(value) for value in values[present]}
    if kinds and all(issubclass(kind, datetime.timedelta) for kind in kinds):
        return _of_durations(pd.to_timedelta(values))
    if kinds and all(issubclass(kind, datetime.date) for kind in kinds):
        return _of_dates(pd.to_datetime(values))
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().equals(present):
        return numbers.to_numpy(dtype=np.float64, na_value=np.nan) * _SECONDS[unit or Unit.SECOND]
    if numbers.notna().sum() > present.sum() / 2:
        _refuse_first(numbers.isna() & present, values, label, column, where)
    text = values.astype("string").str.strip()
    _refuse_two_parts(text, label, column, where)
    clock = _clock_times(text)
    if clock.notna().any():
        _refuse_first(clock.isna() & present, values, label, column, where)
        return _of_durations(clock)
    dates = _dates(text, label, column, date_order)
    bad = dates.isna() & present
    _refuse_first(bad & numbers.isna(), values, label, column, where)  # among numbers, what makes them text
    _refuse_first(bad, values, label, column, where)
    return _of_dates(dates)


def _refuse_first(bad: pd.Series, values: pd.Series, label: str, column: str, where: Callable[[int], str]) -> None:
    rows = np.flatnonzero(bad.to_numpy())
    if rows.size:
        row = int(rows[0])
        shown = printable(str(values.iloc[row])[:60])
        raise DataError(
            f"{label}: column {column!r}, {where(row)} is not a time but {shown!r}; correct or remove the row (numbers "
            f"need a decimal point and no thousands separator), {LEAVE_OUT}"
        )


def _refuse_two_parts(text: pd.Series, label: str, column: str, where: Callable[[int], str]) -> None:
    """Refuse times such as 12:30.5, of which a spreadsheet has cut the hours."""
    rows = np.flatnonzero(text.str.fullmatch(_TWO_PARTS).fillna(False).to_numpy())
    if rows.size:
        row = int(rows[0])
        raise DataError(
            f"{label}: column {column!r}, {where(row)} is not a time but {text.iloc[row]!r}, in which the hours or the "
            "seconds are missing, as spreadsheets save times; export the column as seconds or as hh:mm:ss, name "
            f"another column by data.columns.time, {LEAVE_OUT}"
        )


def _clock_times(text: pd.Series) -> pd.Series:
    """Durations of clock times, also beyond a day; NaT for other texts."""
    if not text.head(100).str.fullmatch(_CLOCK).fillna(False).any():
        return pd.Series(pd.NaT, index=text.index, dtype="timedelta64[ns]")
    parts = text.str.extract(f"^{_CLOCK.pattern}$")
    clock = pd.to_timedelta(parts["clock"].str.replace(",", ".", regex=False), errors="coerce")
    return clock + pd.to_timedelta(pd.to_numeric(parts["days"]).fillna(0).astype(float), unit="D")


def _dates(text: pd.Series, label: str, column: str, order: DateOrder | None) -> pd.Series:
    iso = pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True)
    if iso.notna().any():
        return iso
    if order is not None:
        return _parse(text, order == "day_first")
    first, second = text.str.extract(_DAY_AND_MONTH).astype(float).max()
    if text.head(100).str.match(r"\d{1,2}\.\d{1,2}\.").fillna(False).any() or first > _MONTHS:
        return _parse(text, True)  # dots are written between a day and a month, in this order
    if not second <= _MONTHS:
        return _parse(text, False)
    readings = [_parse(text, day_first) for day_first in (True, False)]
    if not np.array_equal(_of_dates(readings[0]), _of_dates(readings[1]), equal_nan=True):
        choices = [Override("data.date_order", choice) for choice in ("day_first", "month_first")]
        raise FixableError(
            f"{label}: column {column!r} has dates such as {str(text.dropna().iloc[0])!r}, in which day and month "
            f"cannot be told apart; choose {' or '.join(map(str, choices))}",
            guesses=choices[:1],
        )
    return readings[0]


def _parse(text: pd.Series, day_first: bool) -> pd.Series:
    """Parse dates by the format of the first one; fractions of a second apart, because not every row has them."""
    fractions = pd.to_numeric("0." + text.str.extract(r":\d\d[.,](\d+)", expand=False)).fillna(0.0).astype(float)
    whole = text.str.replace(r"(:\d\d)[.,]\d+", r"\1", regex=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns where it guesses a format
        dates = pd.to_datetime(whole, errors="coerce", dayfirst=day_first, utc=True)
    return dates.dt.as_unit("us") + pd.to_timedelta(fractions, unit="s").dt.as_unit("us")


def _of_durations(values: pd.Series) -> NDArray[np.float64]:
    return values.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)


def _of_dates(values: pd.Series) -> NDArray[np.float64]:
    present = values.dropna()
    return _of_durations(values - present.iloc[0]) if len(present) else np.full(len(values), np.nan)
