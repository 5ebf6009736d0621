"""Prepare one file: read it, convert it, check what its values mean, and cut it into recordings."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vestim_pl.data.fixes import FixableError
from vestim_pl.data.formats.quantities import FoundColumns, find_columns
from vestim_pl.data.formats.raw_table import LEAVE_OUT, RawTable
from vestim_pl.data.formats.reading import read_table
from vestim_pl.data.preparation.meaning.agreement import interval_problem
from vestim_pl.data.preparation.meaning.evidence import Evidence
from vestim_pl.data.preparation.meaning.recording_checks import judge, soc_that_fits
from vestim_pl.data.preparation.settings import PreparationSettings
from vestim_pl.data.preparation.standardizing import require_columns, standard_table
from vestim_pl.data.preparation.state_of_charge import counted_charge
from vestim_pl.data.preparation.steps import run_steps
from vestim_pl.data.preparation.table import Note, StandardTable
from vestim_pl.data.preparation.temperature import named_temperature
from vestim_pl.errors import DataError
from vestim_pl.settings.override import Override, command_text

__all__ = ["PreparedFile", "PreparedRecording", "prepare_file", "prepare_recording", "raw_table"]

_CONSTANT = Override("data.temperature", 25)  # as `FoundColumns.require` proposes it
_SOME_AH = 3.0  # as `FoundColumns.require` proposes it
_ORDERING = ("current_sign", "twin_times", "max_gap")
_GUESSED = ("data.soc.capacity_ah", "data.soc.initial", "data.cells_in_series")
_AFTER_CHECKS = ("trim_rest", "resample", "derived")


@dataclass(frozen=True)
class PreparedRecording:
    """One recording without gaps, as a network takes it.

    Attributes:
        name: Path of the file without suffix; parts after a cut end in ``.part2`` and so on.
        inputs: ``[n, F]`` float32 features in physical units, in the order of ``settings.features``.
        target: ``[n]`` float32 terminal voltage in volts; None where the file has none.
        time: ``[n]`` float64 seconds.
        columns: ``[n]`` values of the prepared columns, by quantity.
        source_rows: ``[n]`` row of the file, from 0; None after resampling.
        interval: Seconds between rows; None with one row.
        notes: What was assumed or changed, one sentence each.

    """

    name: str
    inputs: NDArray[np.float32]
    target: NDArray[np.float32] | None
    time: NDArray[np.float64]
    columns: Mapping[str, NDArray[Any]]
    source_rows: NDArray[np.int64] | None
    interval: float | None
    notes: tuple[str, ...] = ()

    def rows(self, span: slice) -> "PreparedRecording":
        """Return some of the rows."""
        return replace(
            self,
            inputs=self.inputs[span],
            target=None if self.target is None else self.target[span],
            time=self.time[span],
            columns={name: values[span] for name, values in self.columns.items()},
            source_rows=None if self.source_rows is None else self.source_rows[span],
        )

    @property
    def frame(self) -> pd.DataFrame:
        """The prepared columns as a data frame."""
        return pd.DataFrame(dict(self.columns), copy=False)


@dataclass(frozen=True)
class PreparedFile:
    """All recordings of a file.

    Attributes:
        recordings: The recordings, in the order of the file.
        notes: What was assumed or changed.
        warnings: What is doubtful, one line each.
        evidence: Figures that show what the values mean; None where nothing is checked.
        interval: Seconds between the prepared rows.

    """

    recordings: list[PreparedRecording]
    notes: list[Note] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    evidence: Evidence | None = None
    interval: float | None = None


def prepare_recording(
    source: Path | pd.DataFrame | RawTable, settings: PreparationSettings, label: str = "", voltage: bool | None = None
) -> list[PreparedRecording]:
    """Read a file and prepare it as a checkpoint's training did.

    Args:
        source: A file, its table, or what a reader made of it.
        settings: Settings of the checkpoint, see `PreparationSettings.of_estimator`.
        label: Name of the file for messages, and its path below the folder of the data; the path by default.
        voltage: Whether there must be a measured voltage; None takes it where there is one.

    Returns:
        One recording, or several where the file has gaps.

    Raises:
        DataError: If the file is unreadable, lacks a column, has values that are not finite or cannot mean what they
            should, or has another interval than the training.

    Example::

        >>> frame = pd.DataFrame({"Time": [0.0, 1.0], "SOC": 0.5, "Current": [0.0, -1.0], "Temp": 25.0})
        >>> (prepared,) = prepare_recording(frame, PreparationSettings())
        >>> prepared.inputs.shape, prepared.target is None
        ((2, 3), True)

    """
    return prepare_file(source, settings, label, voltage).recordings


def prepare_file(
    source: Path | pd.DataFrame | RawTable, settings: PreparationSettings, label: str = "", voltage: bool | None = True
) -> PreparedFile:
    """Read and prepare a file; see `prepare_recording`, which returns its recordings alone."""
    label = label or (str(source) if isinstance(source, Path) else "table")
    raw = raw_table(source, settings, label)
    found = find_columns(raw.names, raw.units, settings.columns, label)
    if not len(raw.frame):
        raise DataError(f"{label}: has no rows; remove the file, {LEAVE_OUT}")
    try:
        require_columns(found, settings, voltage)
    except FixableError as error:
        raise _with_more(error, raw, found, settings, label) from None
    table, notes = standard_table(raw, found, settings, label, voltage)
    notes = [*(Note(text) for text in raw.notes), *notes]
    first = next((index for index, name in enumerate(settings.prepare) if name in _AFTER_CHECKS), len(settings.prepare))
    table, said = run_steps(table, settings, settings.prepare[:first], label)
    notes += said
    _require_order(table, label)
    evidence = Evidence.of(table) if settings.checks != "off" else None
    warnings = _judged(
        evidence, settings, label, counted="soc" not in found.columns or settings.soc.initial == "column"
    )
    table, said = run_steps(table, settings, settings.prepare[first:], label)
    notes += said
    interval = table.usual_interval
    if (problem := interval_problem(label, interval, settings.interval)) is not None:
        _refuse_or_warn(DataError(problem), settings, warnings)
    return PreparedFile(_recordings(table, settings, label, interval, notes), notes, warnings, evidence, interval)


def raw_table(source: Path | pd.DataFrame | RawTable, settings: PreparationSettings, label: str) -> RawTable:
    """Read the columns that the settings need from a file; a table is taken as it is."""
    if isinstance(source, RawTable):
        return source
    if isinstance(source, pd.DataFrame):
        names = [str(name) for name in source.columns]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{label}: several columns are named {twice!r}; drop or rename all but one, {LEAVE_OUT}")
        return RawTable(source, names, {}, "table")
    _, others = settings.needed
    return read_table(source, label, settings.files, settings.columns, sorted(others))


def _with_more(
    missing: FixableError, raw: RawTable, found: FoundColumns, settings: PreparationSettings, label: str
) -> FixableError:
    """Add to an error of missing columns what else the file needs, so that its second run has no surprise."""
    if _CONSTANT in missing.guesses and named_temperature(label) is not None:
        named = Override("data.temperature", "name")
        text = str(missing).replace(f"{_CONSTANT}", f"{_CONSTANT}, or take the one in its name: {named}")
        others = [guess for guess in missing.guesses if guess != _CONSTANT]
        missing = FixableError(text, (*missing.fixes, named), others)
    if settings.checks != "refuse" or not {"time", "current"} <= set(found.columns):
        return missing
    try:
        table, _ = standard_table(raw, found, settings, label, None)
        table, _ = run_steps(table, settings, [name for name in settings.prepare if name in _ORDERING], label)
        judgement = judge(Evidence.of(table), settings)
    except DataError as error:
        fixes, more = (error.fixes, error.guesses) if isinstance(error, FixableError) else ((), ())
        text = f"{missing}; also, {str(error).removeprefix(f'{label}: ')}"
        return FixableError(text, (*missing.fixes, *fixes), (*missing.guesses, *more))
    text, guesses, counted = str(missing), missing.guesses, Override("data.soc.capacity_ah", _SOME_AH)
    if counted in guesses and len(table):
        sign = -1.0 if Override("data.current_sign", "discharge_positive") in judgement.fixes else 1.0
        charge = sign * counted_charge(table)
        fits = soc_that_fits(float(charge.min()), float(charge.max()), _SOME_AH)
        text = text.replace(str(counted), command_text(fits))
        guesses = (*(guess for guess in guesses if guess != counted), *fits)
    text += f"; also, {judgement.text}" if judgement.problems else ""
    return FixableError(text, (*missing.fixes, *judgement.fixes), guesses)


def _judged(evidence: Evidence | None, settings: PreparationSettings, label: str, counted: bool) -> list[str]:
    """Return warnings, or refuse the file."""
    if evidence is None:
        return []
    found = judge(evidence, settings, counted)
    warnings = [f"{label}: {note}" for note in found.notes]
    if found.problems:
        # What counting SOC needs follows from the current alone, so the cell's true capacity is the user's to check.
        guesses = [fix for fix in found.fixes if fix.key in _GUESSED]
        fixes = [fix for fix in found.fixes if fix.key not in _GUESSED]
        _refuse_or_warn(FixableError(found.message(label), fixes, guesses), settings, warnings)
    return warnings


def _refuse_or_warn(problem: DataError, settings: PreparationSettings, warnings: list[str]) -> None:
    if settings.checks == "refuse":
        raise problem
    if settings.checks == "warn":
        warnings.append(str(problem))


def _require_order(table: StandardTable, label: str) -> None:
    """Refuse a time that does not increase, where the steps that handle it are not run."""
    if table.interval_range[0] <= 0:
        raise DataError(
            f"{label}: time does not increase in {np.count_nonzero(table.intervals <= 0)} rows; "
            f"let data.prepare have twin_times and max_gap, sort the rows by time, {LEAVE_OUT}"
        )


def _recordings(
    table: StandardTable, settings: PreparationSettings, label: str, interval: float | None, notes: list[Note]
) -> list[PreparedRecording]:
    texts, path = tuple(note.text for note in notes), Path(label)
    stem = path.with_suffix("").as_posix() if path.suffix else label
    recordings = []
    for number, span in enumerate(table.spans(), start=1):
        columns = {name: values[span] for name, values in table.columns.items()}
        inputs = np.empty((len(columns["time"]), len(settings.features)), dtype=np.float32)
        for index, role in enumerate(settings.feature_roles.values()):
            inputs[:, index] = columns[role]
        target = columns["voltage"].astype(np.float32, copy=False) if "voltage" in columns else None
        recordings.append(
            PreparedRecording(
                stem if number == 1 else f"{stem}.part{number}",
                inputs,
                target,
                columns["time"],
                columns,
                None if table.rows is None else table.rows[span],
                interval,
                texts,
            )
        )
    return recordings


def first_date(path: Path, settings: PreparationSettings, label: str = "") -> date | None:
    """Return the day on which a recording starts; None if its time has no dates."""
    raw = read_table(path, label, settings.files, settings.columns)
    column = find_columns(raw.names, raw.units, settings.columns, label).columns.get("time")
    if column is None or not len(raw.frame) or pd.api.types.is_numeric_dtype(raw.frame[column]):
        return None
    day = pd.to_datetime(raw.frame[column].iloc[0], errors="coerce", dayfirst=settings.files.date_order == "day_first")
    return None if pd.isna(day) else day.date()
