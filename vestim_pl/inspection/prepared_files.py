"""Write recordings once as Parquet, in the names and units that a training takes without any setting."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vestim_pl.data.columns import Columns
from vestim_pl.data.preparation.preparing import PreparedFile, PreparedRecording, prepare_file
from vestim_pl.data.preparation.settings import PreparationSettings
from vestim_pl.data.preparation.table import QUANTITIES
from vestim_pl.errors import ConfigurationError
from vestim_pl.files import whole_file, writing
from vestim_pl.inspection.inspected_file import joined
from vestim_pl.reports.page import render_page
from vestim_pl.reports.recording_traces import measured_traces

__all__ = ["Written", "refuse_overlap", "standard_features", "standard_frame", "write_prepared"]

_INTERNAL = ("ah", "state")  # of the preparation
_NAMES = {quantity: getattr(Columns(), quantity) for quantity in QUANTITIES}


@dataclass(frozen=True)
class Written:
    """One file that was written.

    Attributes:
        label: Path of the source below the input.
        files: Names of the Parquet files, below the output.
        page: Name of its page.
        rows: Number of rows.
        hours: Duration without gaps.
        notes: What was assumed or changed.
        prepared: What was prepared, without its rows.

    """

    label: str
    files: tuple[str, ...]
    page: str
    rows: int
    hours: float
    notes: tuple[str, ...]
    prepared: PreparedFile


def refuse_overlap(source: Path, target: Path, replace: bool = False) -> None:
    """Refuse an output that would overwrite the input, be read as part of it, or mix with other files.

    Raises:
        ConfigurationError: With another name for the output.

    """
    inside, outside = target.resolve(), source.resolve()
    example = outside.with_name(f"{outside.stem}-prepared")
    if inside == outside or outside.is_relative_to(inside) or (source.is_dir() and inside.is_relative_to(outside)):
        raise ConfigurationError(
            f"{target}: is, holds, or lies in the input {source}; write to a folder beside it, {example}"
        )
    if target.exists() and not target.is_dir():
        raise ConfigurationError(f"{target}: is a file; give a folder, such as {example}")
    if target.is_dir() and any(target.iterdir()) and not replace:
        raise ConfigurationError(f"{target}: is not empty; give a new folder, or replace its files with --replace")


def standard_frame(recording: PreparedRecording) -> pd.DataFrame:
    """Return the rows under the default names of `Columns`, and other columns under their own names.

    Time is float64, all others are float32, as a network sees them.
    """
    columns = {
        _NAMES.get(name, name): values if name == "time" else values.astype(np.float32)
        for name, values in recording.columns.items()
        if name not in _INTERNAL
    }
    return pd.DataFrame(columns)


def write_prepared(
    path: Path, label: str, settings: PreparationSettings, target: Path, name_of: Callable[[str], str] = str
) -> Written:
    """Prepare a file, and write its recordings as Parquet and a page with what was assumed and the traces.

    Args:
        path: The file.
        label: Its path below the input, kept below the output.
        settings: How it is prepared.
        target: Folder of the output.
        name_of: Name of the output without suffix for a label.

    Raises:
        DataError: If the file cannot be used.
        FileError: If a file cannot be written.

    """
    file = prepare_file(path, settings, label)
    stem = name_of(label)
    with writing(target / stem):
        (target / stem).parent.mkdir(parents=True, exist_ok=True)
    names = []
    for number, recording in enumerate(file.recordings, start=1):
        name = f"{stem}{f'.part{number}' if number > 1 else ''}.parquet"
        with whole_file(target / name) as partial:
            standard_frame(recording).to_parquet(partial, index=False)
        names.append(name)
    hours = sum(float(each.time[-1] - each.time[0]) for each in file.recordings if len(each.time)) / 3600
    notes = tuple(f"{note.text}{f' ({note.rows:,} times)' if note.rows else ''}" for note in file.notes)
    rows = sum(len(each.time) for each in file.recordings)
    page = f"{stem}.html"
    content = render_page(
        "prepared_file.html",
        title=label,
        recordings={"checkpoints": [], "recordings": [measured_traces(label, joined(file.recordings))]},
        files=names,
        rows=rows,
        hours=hours,
        interval=file.interval,
        notes=[*notes, *file.warnings],
    )
    with whole_file(target / page) as partial:
        partial.write_text(content, encoding="utf-8")
    found = PreparedFile([], file.notes, file.warnings, file.evidence, file.interval)
    return Written(label, tuple(names), page, rows, hours, notes, found)


def standard_features(settings: PreparationSettings) -> list[str]:
    """Return the features of the settings as the written files call them.

    Example::

        >>> standard_features(PreparationSettings(columns=Columns(current="I"), derived={"Power": "current * voltage"}))
        ['SOC', 'Current', 'Temp', 'Power']

    """
    return [_NAMES.get(role, role) for role in settings.feature_roles.values()]
