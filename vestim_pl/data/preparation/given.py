"""Settings of the preparation that a user gives for files of their own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.raw_table import FileOptions
from vestim_pl.data.preparation.settings import PreparationSettings
from vestim_pl.data.preparation.state_of_charge import SocSource
from vestim_pl.data.preparation.units import Units
from vestim_pl.settings.arguments import argument_types, check_arguments

__all__ = ["given_settings"]

Kind = TypeVar("Kind", Columns, FileOptions, SocSource, Units)


def given_settings(
    columns: Columns | Mapping[str, Any] | None = None,
    csv: FileOptions | Mapping[str, Any] | None = None,
    sheet: str | None = None,
    date_order: Literal["day_first", "month_first"] | None = None,
    units: Units | Mapping[str, Any] | None = None,
    current_sign: Literal["auto", "charge_positive", "discharge_positive"] = "auto",
    checks: Literal["refuse", "warn", "off"] = "refuse",
    cells_in_series: int | None = None,
    twin_times: bool = True,
    max_gap: float | None = None,
    soc: SocSource | Mapping[str, Any] | None = None,
    temperature: float | str | None = None,
    trim_rest: float | None = None,
    resample: float | None = None,
) -> PreparationSettings:
    """Collect what is said about files that a checkpoint is used on; the names are those of ``data`` in a training.

    What is not given is as in the training, see `PreparationSettings.overridden_by`.

    Args:
        columns: Column of each quantity.
        csv: How text files are written.
        sheet: Sheet of a workbook.
        date_order: Order of day and month in dates.
        units: Unit of each quantity.
        current_sign: Which sign charging has.
        checks: What happens where values cannot mean what they should.
        cells_in_series: Cells of a pack.
        twin_times: Whether the last of rows with the same time is kept.
        max_gap: Longest interval in seconds that is no gap.
        soc: How the state of charge is counted.
        temperature: Temperature in degC, or how it is found in the path.
        trim_rest: Seconds of rest before the first load.
        resample: Seconds between rows.

    Raises:
        ConfigurationError: If a setting is unknown or out of range.

    Example::

        >>> given_settings(columns={"current": "I"}, units={"current": "mA"}).columns.current
        'I'

    """
    return PreparationSettings(
        columns=_built(Columns, "columns", columns),
        files=replace(_built(FileOptions, "csv", csv), sheet=sheet, date_order=date_order),
        units=_built(Units, "units", units),
        current_sign=current_sign,
        checks=checks,
        cells_in_series=cells_in_series,
        twin_times=twin_times,
        max_gap=max_gap,
        soc=_built(SocSource, "soc", soc),
        temperature=temperature,
        trim_rest=trim_rest,
        resample=resample,
    )


def _built(kind: type[Kind], name: str, values: Kind | Mapping[str, Any] | None) -> Kind:
    if isinstance(values, Mapping):
        check_arguments(name, values, argument_types(kind))
        return kind(**values)
    return kind() if values is None else values
