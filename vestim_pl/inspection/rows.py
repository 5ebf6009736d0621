"""What was found, as rows of tables for terminal and page."""

from dataclasses import dataclass

from vestim_pl.inspection.inspected_file import InspectedFile
from vestim_pl.inspection.inspected_folder import SPLITS, InspectedFolder
from vestim_pl.settings.override import command_text

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
    """Settings that some files need.

    Attributes:
        settings: As the command line takes them.
        guesses: Those among them that the user has to check.
        files: Number of files that need them.
        reasons: Why, from the first of them.

    """

    settings: str
    guesses: str
    files: int
    reasons: tuple[str, ...]


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


def needs(folder: InspectedFolder) -> list[Need]:
    """Group the files by the settings that they need, with the reasons of the first of each group."""
    groups: dict[str, list[str]] = {}
    for label, file in folder.files.items():
        if file.settings and not file.failure:
            groups.setdefault(command_text(file.settings), []).append(label)
    found = []
    for settings, labels in groups.items():
        first = folder.files[labels[0]]
        reasons = tuple(f"{first.label}: {reason}" for reason in first.reasons)
        found.append(Need(settings, command_text(first.guesses), len(labels), reasons))
    known = {str(each) for file in folder.files.values() for each in file.settings}
    if more := [each for each in folder.shared if str(each) not in known]:
        found.append(Need(command_text(more), "", len(folder.files), ("all recordings get the same interval",)))
    return found
