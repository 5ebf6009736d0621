"""Inspect one file: what is in it, and which settings make it usable."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vestim_pl.data.fixes import FixableError
from vestim_pl.data.formats.quantities import find_columns
from vestim_pl.data.formats.raw_table import LEAVE_OUT, RawTable
from vestim_pl.data.preparation.meaning.evidence import Evidence
from vestim_pl.data.preparation.preparing import PreparedFile, PreparedRecording, prepare_file, raw_table
from vestim_pl.data.preparation.settings import PreparationSettings
from vestim_pl.data.preparation.table import QUANTITIES
from vestim_pl.errors import VestimError
from vestim_pl.reports.recording_traces import measured_traces
from vestim_pl.settings.override import Override

__all__ = ["COVERED", "InspectedFile", "SettingsOf", "inspect_file", "joined"]

COVERED = ("current", "temperature", "soc")
"""Quantities whose coverage is compared."""

SettingsOf = Callable[[Sequence[Override]], PreparationSettings]
"""Returns the settings with some more of them set, as a training would have them."""

_MOST_ROUNDS = 6  # of advice; real files need two
_SAMPLED = 4000  # rows of a recording that stand for all in the coverage


@dataclass(frozen=True)
class InspectedFile:
    """What a file is, after the settings that it needs.

    Attributes:
        label: Path below the folder.
        fixes: Settings that follow from what was found.
        guesses: Settings that the user has to check.
        reasons: Why each was needed, one line for each round of advice.
        failure: Why the file cannot be used; empty if it can.
        format: Format in words.
        columns: Column of the file by quantity.
        lengths: Rows of each recording; several where the file has gaps.
        hours: Duration without gaps.
        interval: Seconds between the prepared rows.
        evidence: Figures of the rows before they were resampled.
        notes: What was assumed or changed.
        warnings: What is doubtful.
        digest: Same for the same rows.
        sample: ``[m, 3]`` current, temperature and SOC of rows at equal distances; NaN where there is none.
        traces: What a page draws.

    """

    label: str
    fixes: tuple[Override, ...] = ()
    guesses: tuple[Override, ...] = ()
    reasons: tuple[str, ...] = ()
    failure: str = ""
    format: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()
    hours: float = 0.0
    interval: float | None = None
    evidence: Evidence | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    digest: bytes = b""
    sample: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, len(COVERED)), np.float32))
    traces: dict[str, Any] | None = None

    @property
    def settings(self) -> tuple[Override, ...]:
        """Fixes and guesses."""
        return self.fixes + self.guesses


def inspect_file(
    path: Path, label: str, settings_of: SettingsOf, start: Sequence[Override] = (), traced: int = 0
) -> InspectedFile:
    """Read a file, and follow the advice of each refusal until it can be used.

    Args:
        path: The file.
        label: Its path below the folder.
        settings_of: Returns the settings with some more of them.
        start: Settings that the other files need, none of which may be changed.
        traced: Rows that a page draws at most; 0 for no traces.

    """
    fixes, guesses, reasons = list[Override](), list[Override](), list[str]()
    raw, read_with = RawTable(pd.DataFrame(), [], {}, ""), None
    for _ in range(_MOST_ROUNDS):
        try:
            settings = settings_of([*start, *fixes, *guesses])
            if read_with != (how := (settings.files, settings.columns)):
                raw, read_with = raw_table(path, settings, label), how
            file = prepare_file(raw, settings, label)
        except FixableError as error:
            known = {each.key for each in (*start, *fixes, *guesses)}
            more = [each for each in error.fixes if each.key not in known]
            doubtful = [each for each in error.guesses if each.key not in known]
            reasons.append(_reason(error, label))
            if more or doubtful:
                fixes, guesses = fixes + more, guesses + doubtful
                continue
            return InspectedFile(label, tuple(fixes), tuple(guesses), tuple(reasons), _reason(error, label), raw.format)
        except VestimError as error:
            return InspectedFile(label, tuple(fixes), tuple(guesses), tuple(reasons), _reason(error, label), raw.format)
        return _described(label, fixes, guesses, reasons, raw, settings, file, traced)
    return InspectedFile(label, tuple(fixes), tuple(guesses), tuple(reasons), reasons[-1], raw.format)


def joined(recordings: Sequence[PreparedRecording]) -> dict[str, NDArray[Any]]:
    """Join the recordings of a file, with time that goes on where it starts again."""
    columns = {name: np.concatenate([each.columns[name] for each in recordings]) for name in recordings[0].columns}
    times, end = list[NDArray[np.float64]](), -np.inf
    for each in recordings:
        shift = end + (each.interval or 1.0) - each.time[0] if len(each.time) and each.time[0] <= end else 0.0
        times.append(each.time + shift)
        end = float(times[-1][-1]) if len(each.time) else end
    return {**columns, "time": np.concatenate(times)}


def _described(
    label: str,
    fixes: list[Override],
    guesses: list[Override],
    reasons: list[str],
    raw: RawTable,
    settings: PreparationSettings,
    file: PreparedFile,
    traced: int,
) -> InspectedFile:
    digest = hashlib.blake2b(digest_size=16)
    for each in file.recordings:
        digest.update(np.ascontiguousarray(each.inputs).data)
        digest.update(np.ascontiguousarray(each.target).data)
    columns = joined(file.recordings)
    found = find_columns(raw.names, raw.units, settings.columns, label).columns
    lengths = tuple(len(each.time) for each in file.recordings)
    rows = np.unique(np.linspace(0, sum(lengths) - 1, min(sum(lengths), _SAMPLED)).astype(int))
    missing = np.full(sum(lengths), np.nan, np.float32)
    return InspectedFile(
        label,
        tuple(fixes),
        tuple(guesses),
        tuple(reasons),
        format=raw.format,
        columns={quantity: found[quantity] for quantity in QUANTITIES if quantity in found},
        lengths=lengths,
        hours=sum(float(each.time[-1] - each.time[0]) for each in file.recordings if len(each.time)) / 3600,
        interval=file.interval,
        evidence=file.evidence,
        notes=tuple(f"{note.text}{f' ({note.rows:,} times)' if note.rows else ''}" for note in file.notes),
        warnings=tuple(file.warnings),
        digest=digest.digest(),
        sample=np.stack([columns.get(name, missing)[rows] for name in COVERED], axis=1).astype(np.float32),
        traces=measured_traces(label, columns, traced) if traced else None,
    )


def _reason(error: VestimError, label: str) -> str:
    """Return the message without the name of the file and without what does not apply here."""
    text = str(error).removeprefix(f"{label}: ").replace(f", {LEAVE_OUT}", "").replace(LEAVE_OUT, "")
    return text.partition(", or accept the values as they are")[0]
