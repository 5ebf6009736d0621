"""What was found, as rows of tables for terminal and page."""

from collections.abc import Sequence
from dataclasses import dataclass

from vestim_pl.inspection.inspected_file import InspectedFile
from vestim_pl.inspection.inspected_folder import SPLITS, InspectedFolder
from vestim_pl.settings.override import Override

__all__ = ["FileRow", "Need", "file_rows", "needs", "readings"]

_RANGES = ("current", "voltage", "temperature", "soc")


@dataclass(frozen=True)
class FileRow:
    """One file.

    Attributes:
        label: Path below the folder.
        split: Its split; ``each`` where every file is divided.
        problem: Why it cannot be used; empty if it can.
        rows: Number of rows.
        parts: Recordings; several where the file has gaps.
        hours: Duration.
        interval: Seconds between rows, as they were and as they become.
        sign: Evidence of the sign of the current.
        ranges: Range by quantity.

    """

    label: str
    split: str
    problem: str
    rows: int = 0
    parts: int = 0
    hours: float = 0.0
    interval: str = ""
    sign: str = ""
    ranges: tuple[str, ...] = ("", "", "", "")


@dataclass(frozen=True)
class Need:
    """A setting that files need.

    Attributes:
        setting: The setting.
        is_guess: Whether the user has to check it.
        files: Number of files that need it.
        reason: Why, from the first of them.

    """

    setting: Override
    is_guess: bool
    files: int
    reason: str


def file_rows(folder: InspectedFolder) -> list[FileRow]:
    """Describe each file, in the order of splits and names."""
    rows = []
    by_share = folder.recordings.rules.by_share
    for split in SPLITS[:1] if by_share else SPLITS:
        for label in map(folder.recordings.label, folder.recordings.splits.get(split, [])):
            shown = "each" if by_share else split
            file, problem = folder.files[label], folder.unusable.get(label, "")
            rows.append(FileRow(label, shown, problem) if file.failure else _row(file, shown, problem))
    return rows


def _row(file: InspectedFile, split: str, problem: str) -> FileRow:
    evidence = file.evidence
    before, after = (evidence.interval if evidence else None), file.interval
    interval = "" if after is None else f"{after:.4g} s"
    if before is not None and after is not None and abs(before - after) > 0.05 * after:
        interval = f"{before:.4g} -> {interval}"
    sign = evidence.sign if evidence else None
    ranges = evidence.ranges if evidence else {}
    return FileRow(
        file.label,
        split,
        problem,
        sum(file.lengths),
        len(file.lengths),
        file.hours,
        interval,
        f"{100 * sign.share:.0f} % of {sign.steps}" if sign else "too few steps",
        tuple(f"{ranges[name][0]:.3g}..{ranges[name][1]:.3g}" if name in ranges else "" for name in _RANGES),
    )


def readings(folder: InspectedFolder) -> list[tuple[str, int, str]]:
    """Group the files by format and columns: the description, the number of files, one of them."""
    groups: dict[str, list[str]] = {}
    for label, file in folder.files.items():
        if not file.failure:
            columns = ", ".join(f"{quantity} {column!r}" for quantity, column in file.columns.items())
            groups.setdefault(f"{file.format}: {columns}", []).append(label)
    return [(text, len(labels), labels[0]) for text, labels in groups.items()]


def needs(folder: InspectedFolder, given: Sequence[Override] = ()) -> list[Need]:
    """Return each setting that a training needs, and why."""
    guesses = {each.key for each in folder.guesses}
    found = []
    for setting in folder.shared:
        asking = [
            (label, reason)
            for label, file in folder.files.items()
            for reason in file.reasons
            if setting.key in reason or str(setting) in reason
        ]
        first = f"{asking[0][0]}: {asking[0][1]}" if asking else "rows of all recordings get the same interval"
        found.append(Need(setting, setting.key in guesses, len({label for label, _ in asking}), first))
    return found
