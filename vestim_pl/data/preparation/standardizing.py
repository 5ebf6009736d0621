"""From a file's own columns to a table in standard units."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vestim_pl.data.formats.quantities import FoundColumns
from vestim_pl.data.formats.raw_table import LEAVE_OUT, RawTable
from vestim_pl.data.formats.times import seconds
from vestim_pl.data.formats.units import Unit, parse_unit
from vestim_pl.data.preparation.settings import PreparationSettings
from vestim_pl.data.preparation.table import QUANTITIES, Note, StandardTable
from vestim_pl.data.preparation.units import UNITS, converted
from vestim_pl.errors import DataError, printable
from vestim_pl.settings.override import Override

__all__ = ["require_columns", "standard_table"]

Place = Callable[[int], str]


def standard_table(
    raw: RawTable, found: FoundColumns, settings: PreparationSettings, label: str, voltage: bool | None
) -> tuple[StandardTable, list[Note]]:
    """Take the columns that the settings need and the file has, in standard units.

    Values that are no finite numbers are refused.

    Args:
        raw: The file's columns.
        found: Which of them has which quantity.
        settings: What is needed, and the units that are set.
        label: Name of the file for messages.
        voltage: False leaves the voltage out; None takes it where there are values of it.

    Raises:
        DataError: If a column has text, NaN or Inf, or an unknown unit.

    """
    wanted, others = settings.needed
    notes = _taken(found, wanted | {"time", "current", "voltage"})
    columns: dict[str, NDArray[Any]] = {}
    for quantity in QUANTITIES:
        if quantity in wanted | {"time", "current", "voltage"} and quantity in found.columns:
            if quantity == "voltage" and (voltage is False or _without_values(raw, found, voltage)):
                continue
            columns[quantity], said = _quantity(raw, found, quantity, settings, label)
            notes += said
    for name in sorted(others):
        column = found.resolve(name)
        if column not in raw.frame:
            continue
        columns[name] = _finite(raw.frame[column], label, column, raw.where)
    if "state" in found.columns:
        columns["state"] = raw.frame[found.columns["state"]].to_numpy()
    if settings.soc.capacity_ah is not None and (counter := _counter(raw, found)) is not None:
        columns["ah"] = counter
    return StandardTable(columns, rows=np.arange(len(raw.frame), dtype=np.int64)), notes


def require_columns(found: FoundColumns, settings: PreparationSettings, voltage: bool | None) -> None:
    """Refuse a file that lacks a column of a quantity that no setting supplies.

    Raises:
        DataError: One line with all missing columns and a proposal for each.

    """
    wanted, others = settings.needed
    required = wanted | {"time"} | ({"voltage"} if voltage else set())
    if settings.soc.capacity_ah is not None and "soc" in wanted:
        required = required - {"soc"} | {"current"}
    if settings.temperature is not None:
        required = required - {"temperature"}
    found.require(sorted(required, key=QUANTITIES.index), sorted(others))


def _without_values(raw: RawTable, found: FoundColumns, voltage: bool | None) -> bool:
    """Whether an optional voltage column is there but empty, as in a template for measurements to come."""
    return voltage is None and bool(raw.frame[found.columns["voltage"]].isna().all())


def _taken(found: FoundColumns, used: set[str]) -> list[Note]:
    taken = [f"{quantity} {printable(repr(column))}" for quantity, column in found.taken.items() if quantity in used]
    return [Note(f"columns by their known names: {', '.join(taken)}")] if taken else []


def _quantity(
    raw: RawTable, found: FoundColumns, quantity: str, settings: PreparationSettings, label: str
) -> tuple[NDArray[Any], list[Note]]:
    column = found.columns[quantity]
    values = raw.frame[column]
    unit = _unit(quantity, column, found.units.get(column, ""), settings, label)
    standard = next(iter(UNITS[quantity]))
    set_units = (settings.units.of(quantity), settings.trained_units.of(quantity))
    how = f"by data.units.{quantity}" if unit in set_units else "as the file says"
    notes = []
    if unit != standard:
        notes = [
            Note(f"{quantity}: {column!r} is in {unit} {how}, converted to {'0 to 1' if standard == '1' else standard}")
        ]
    if quantity == "time":
        time = seconds(values, label, column, Unit(unit), settings.files.date_order, raw.where)
        missing = np.flatnonzero(~np.isfinite(time))
        if missing.size:
            raise DataError(
                f"{label}: column {column!r}, {raw.where(int(missing[0]))} is not a finite time; fix or remove the "
                "row, "
                f"{LEAVE_OUT}"
            )
        return time, notes if pd.api.types.is_numeric_dtype(values) else []
    return converted(_finite(values, label, column, raw.where), quantity, unit), notes


def _unit(quantity: str, column: str, written: str, settings: PreparationSettings, label: str) -> str:
    """Choose the unit of a column: the one that is set, else the one that the file says, else the standard one."""
    units, chosen, trained = UNITS[quantity], settings.units.of(quantity), settings.trained_units.of(quantity)
    if chosen != "auto":
        return chosen
    known = parse_unit(written) if written else None
    said = str(known) if known is not None and str(known) in units else None
    if trained not in ("auto", said or trained) and settings.checks != "off":
        raise DataError(
            f"{label}: column {column!r} is in {said} as the file says, but the checkpoint was trained with "
            f"data.units.{quantity}={trained}; choose {Override(f'data.units.{quantity}', said)} or "
            f"{Override(f'data.units.{quantity}', trained)}"
        )
    if written and said is None:
        raise DataError(
            f"{label}: column {column!r} is in {printable(repr(written))}, which is no known unit of the {quantity} "
            f"({', '.join(units)}); convert the column to {next(iter(units))}, or set "
            f"data.units.{quantity} to the unit that it really has"
        )
    return said or (next(iter(units)) if trained == "auto" else trained)


def _counter(raw: RawTable, found: FoundColumns) -> NDArray[np.float64] | None:
    """Return the tester's net counter in Ah, or the difference of its counters of charge and discharge."""

    def ah(key: str) -> NDArray[np.float64]:
        column = found.columns[key]
        unit = parse_unit(found.units[column]) if found.units.get(column) else None
        values = pd.to_numeric(raw.frame[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        return converted(values, "ah", "mAh" if unit is Unit.MILLIAMPERE_HOUR else "Ah")

    if "ah" in found.columns:
        return ah("ah")
    if "charge_ah" in found.columns and "discharge_ah" in found.columns:
        return ah("charge_ah") - ah("discharge_ah")
    return None


def _numbers(values: pd.Series, label: str, column: str, where: Place) -> NDArray[Any]:
    """Return a column as floating-point numbers, with NaN for missing values."""
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "f":
        return values.to_numpy()
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if pd.api.types.is_datetime64_any_dtype(values):
        raise DataError(f"{label}: column {column!r} has dates, not numbers; convert it to numbers, {LEAVE_OUT}")
    parsed = pd.to_numeric(values, errors="coerce")
    bad = np.flatnonzero((parsed.isna() & values.notna()).to_numpy())
    text = np.flatnonzero([isinstance(value, str) for value in values])
    if bad.size or text.size:
        row = int(bad[0] if bad.size else text[0])
        raise DataError(
            f"{label}: column {column!r}, {where(row)} is not a number but "
            f"{printable(repr(str(values.iloc[row])[:60]))}; "
            "correct it (numbers need a decimal point, no thousands separator, and must not be stored as text), "
            f"{LEAVE_OUT}"
        )
    return parsed.to_numpy(dtype=np.float64, na_value=np.nan)


def _finite(values: pd.Series, label: str, column: str, where: Place) -> NDArray[Any]:
    """Return a column as numbers, and refuse values that are not finite in single precision."""
    numbers = _numbers(values, label, column, where)
    with np.errstate(over="ignore"):
        fine = np.isfinite(numbers.astype(np.float32, copy=False))
    if not fine.all():
        bad = np.flatnonzero(~fine)
        row = int(bad[0])
        found = "NaN or missing" if np.isnan(numbers[row]) else f"{'-' if numbers[row] < 0 else ''}Inf"
        if np.isfinite(numbers[row]):
            found = f"{numbers[row]:g}, beyond single precision"
        raise DataError(
            f"{label}: column {column!r}, {where(row)} is {found} ({bad.size} such of {len(numbers)} rows); "
            f"fix or remove these rows, {LEAVE_OUT}"
        )
    return numbers
