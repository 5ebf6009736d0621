"""Find, read and prepare the recordings of all splits, and report all problems at once."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vestim_pl.data.formats.raw_table import LEAVE_OUT
from vestim_pl.data.formats.reading import READABLE
from vestim_pl.data.formats.split_files import SplitFiles, list_split
from vestim_pl.data.preparation.meaning.agreement import disagreements
from vestim_pl.data.preparation.meaning.evidence import Evidence
from vestim_pl.data.preparation.preparing import PreparedFile, PreparedRecording, first_date, prepare_file
from vestim_pl.data.preparation.settings import PreparationSettings
from vestim_pl.data.recording_table import RecordingTable
from vestim_pl.data.rows import MemoryRows, Rows
from vestim_pl.data.splits import BY_SHARE, SplitRules, assign, proposed_rules
from vestim_pl.errors import DataError
from vestim_pl.networks import RCPairs
from vestim_pl.settings.override import Override, command_text

__all__ = ["Reading", "SplitReader", "demo_folder", "find_recordings"]

_log = logging.getLogger("vestim_pl")
_MOST_REPORTED = 10
_EVERY = 8  # row whose inputs are compared, beside the voltage of every row
PairsOf = Callable[[float | None], RCPairs | None]


def demo_folder() -> Path:
    """Return the folder of the embedded recordings."""
    return Path(str(files("vestim_pl.data"))) / "demo"


def find_recordings(root: Path, split: str) -> SplitFiles:
    """List the recordings in a split's folder and its subfolders, sorted by name, and the other files there.

    Raises:
        DataError: If the folder is missing, or has no recording.

    """
    folder = root / split
    if root.is_file():
        raise DataError(f"data.root: {root} is one recording; divide its rows with {command_text(BY_SHARE)}")
    if not root.is_dir():
        raise DataError(
            f"data.root: {root} is not a folder; set it to a folder with the subfolders train, val and test"
        )
    if not folder.is_dir():
        raise DataError(_no_subfolder(root, split))
    found = list_split(folder)
    if not found.recordings:
        unread = f" ({unread})" if (unread := found.describe_unread()) else ""
        raise DataError(
            f"data.root: {folder} has no file that can be read ({READABLE}){unread}; put recordings into it"
        )
    return found


def _no_subfolder(root: Path, split: str) -> str:
    """Explain a missing subfolder; in a folder of recordings, propose rules that split them."""
    found = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "none"
    names = [path.relative_to(root).as_posix() for path in list_split(root).recordings]
    if any((root / each).is_dir() for each in ("train", "val", "test")) or not names:
        return f"data.root: {root} has no subfolder {split!r} (found: {found}); put recordings into {root / split}"
    problem = f"data.root: {root} has no subfolders train, val and test but {len(names)} recordings; "
    if rules := proposed_rules(names):
        return f"{problem}split them by name, for example with {command_text(rules)}"
    return f"{problem}put them into these, or divide the rows of each recording with {command_text(BY_SHARE)}"


@dataclass
class Reading:
    """What was found out while the recordings were read, as plain values.

    Attributes:
        skipped: Files that were left out, with the reasons.
        interval: Seconds between rows, the same in all recordings; None if no recording has two rows.
        notes: What was assumed or changed, one line each.
        warnings: What is doubtful, one line each.

    """

    skipped: dict[str, str] = field(default_factory=dict)
    interval: float | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, from which ``Reading(**values)`` builds it again."""
        return asdict(self)


@dataclass
class SplitReader:
    """Read the splits of a folder into tables, and collect all problems to report them together.

    Attributes:
        root: Folder with a subfolder for each split, or with recordings that ``rules`` divide, or one recording.
        settings: How each file is prepared.
        rules: Which recordings belong to which split; none for subfolders.
        minimum_rows: Smallest usable number of rows in a recording.
        minimum_reason: Setting that requires so many rows, for messages.
        skip: Whether to leave bad files out with a warning, instead of stopping.
        pairs_of: Builds the pairs of resistor and capacitor whose voltages follow the features in each row, for an
            interval in seconds.
        rows: Builds the place where the rows of a split are collected, for a number of features.
        found: What was found out.
        problems: One line for each bad file so far, by split.

    """

    root: Path
    settings: PreparationSettings = field(default_factory=PreparationSettings)
    rules: SplitRules = field(default_factory=SplitRules)
    minimum_rows: int = 1
    minimum_reason: str = ""
    skip: bool = False
    pairs_of: PairsOf = lambda interval: None
    rows: Callable[[int], Rows] = MemoryRows
    found: Reading = field(default_factory=Reading)
    problems: dict[str, list[str]] = field(default_factory=dict)
    _seen: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    _files: dict[str, list[Path]] = field(default_factory=dict)
    _evidence: dict[str, Evidence] = field(default_factory=dict)
    _intervals: dict[str, float | None] = field(default_factory=dict)
    _notes: dict[str, list[int]] = field(default_factory=dict)

    def read(self, splits: Sequence[str]) -> dict[str, RecordingTable]:
        """Read and check all splits.

        Args:
            splits: Names of the splits. If a recording is in two of them and bad files are left out, the later
                split keeps it, so nothing is tested on what it was trained on.

        Raises:
            DataError: Lists all bad files, one a line; also if a split is empty after bad files were left out.

        """
        files: dict[str, list[Path]] = {}
        for split in splits:
            try:
                files[split] = self.recordings(split)
            except DataError as error:
                self.problems[split] = [str(error)]
        self._raise_problems(splits)
        # The later split is read first, so it keeps a recording that is in both.
        tables = {split: self._read_split(split, files[split]) for split in reversed(splits)}
        if self._disagree(splits):
            return self._without_skipped(splits)
        self._raise_problems(splits)
        self._describe()
        return {split: table for split in splits if (table := tables[split]) is not None}

    def recordings(self, split: str) -> list[Path]:
        """Return the files of a split, and log once which other files its folder has.

        Raises:
            DataError: If the folder is missing, or has no recording.

        """
        if split not in self._files:
            if self.rules.given:
                self._assign()
            else:
                files = find_recordings(self.root, split)
                if unread := files.describe_unread():
                    _log.warning("%s: %s", split, unread)
                self._files[split] = files.recordings
        if not self._files[split]:
            raise DataError(
                f"data.split.{split}: no recording in {self.root} is left for {split}; name some, for example with "
                f"{command_text(self._proposed_rules())}"
            )
        return [path for path in self._files[split] if self.label(path) not in self.found.skipped]

    def _proposed_rules(self) -> tuple[Override, ...]:
        return proposed_rules(path.name for paths in self._files.values() for path in paths) or BY_SHARE

    def _assign(self) -> None:
        if not self.root.exists():
            raise DataError(f"data.root: {self.root} is not a folder; set it to a folder of recordings")
        found = SplitFiles([self.root]) if self.root.is_file() else list_split(self.root)
        if unread := found.describe_unread():
            _log.warning("%s", unread)
        if not found.recordings:
            raise DataError(f"data.root: {self.root} has no file that can be read ({READABLE}); put recordings into it")
        self._files = assign(
            self.folder, found.recordings, self.rules, lambda path: first_date(path, self.settings, self.label(path))
        )

    @property
    def folder(self) -> Path:
        """The folder that the names of recordings begin below."""
        return self.root.parent if self.root.is_file() else self.root

    def label(self, path: Path) -> str:
        """Name a file by its path below the folder."""
        return path.relative_to(self.folder).as_posix()

    def _read_split(self, split: str, files: Sequence[Path]) -> RecordingTable | None:
        """Fill the table of one split file by file."""
        rows: Rows | None = None
        borders, names = [0], list[tuple[Path, int]]()
        for path in files:
            for number, recording in enumerate(self._read_file(split, path), start=1):
                pairs = self.pairs_of(self.found.interval)
                if rows is None:
                    rows = self.rows(recording.inputs.shape[1] + (len(pairs.names) if pairs else 0))
                assert recording.target is not None  # noqa: S101 - files without a voltage are refused
                rows.append(_extended(recording.inputs, pairs), recording.target, recording.time)
                borders.append(borders[-1] + len(recording.time))
                names.append((path, number))
        if rows is None:
            if self.skip:
                own = [self.label(path) for path in self._files[split]]
                reasons = "; ".join(reason for name, reason in self.found.skipped.items() if name in own)
                place = self.root if self.rules.given else self.root / split
                self.problems[split] = [f"data.root: no usable recording is left in {place}: {reasons}"]
            return None
        unique = _unique_names(self.folder if self.rules.given else self.root / split, names)
        return RecordingTable(*rows.collected(), np.asarray(borders, dtype=np.int64), unique)

    def _read_file(self, split: str, path: Path) -> list[PreparedRecording]:
        label = self.label(path)
        try:
            file = prepare_file(path, self.settings, label)
            recordings = self._long_enough(_share(file.recordings, self.rules.share(split)), label)
            self._check_repeated(split, label, recordings)
        except DataError as error:
            self._report(split, label, str(error))
            return []
        self._keep(label, file)
        return recordings

    def _long_enough(self, recordings: Sequence[PreparedRecording], label: str) -> list[PreparedRecording]:
        """Leave out parts that are too short; refuse a file with no other."""
        lengths = [len(recording.time) for recording in recordings]
        enough = [recording for recording in recordings if len(recording.time) >= self.minimum_rows]
        if not enough:
            what = f"has {lengths[0]} rows" if len(lengths) == 1 else f"has no part of more than {max(lengths)} rows"
            raise DataError(
                f"{label}: {what} but {self.minimum_reason or 'the sampling'} needs at least {self.minimum_rows}; "
                f"choose a smaller value, remove the file, {LEAVE_OUT}"
            )
        if short := sum(lengths) - sum(len(recording.time) for recording in enough):
            self._note(
                f"left out: rows of parts shorter than the {self.minimum_rows} rows that {self.minimum_reason} needs",
                short,
            )
        return enough

    def _keep(self, label: str, file: PreparedFile) -> None:
        """Remember what a file shows; a file that all splits share is read once for each."""
        if label in self._intervals:
            return
        self._intervals[label] = file.interval
        if self.found.interval is None and file.interval is not None:
            self.found.interval = float(f"{self.settings.interval or self.settings.resample or file.interval:.6g}")
        if file.evidence is not None:
            self._evidence[label] = file.evidence
        self.found.warnings += file.warnings
        for note in file.notes:
            self._note(note.text, note.rows)

    def _note(self, text: str, rows: int) -> None:
        files, before = self._notes.get(text, [0, 0])
        self._notes[text] = [files + 1, before + rows]

    def _describe(self) -> None:
        total = len(self._intervals)
        for text, (count, rows) in self._notes.items():
            share = "all files" if count == total and total > 1 else f"{count} file{'s' if count > 1 else ''}"
            often = f"{rows:,} time{'s' if rows > 1 else ''}, " if rows else ""
            self.found.notes.append(f"{text} ({often}{share})")

    def _disagree(self, splits: Sequence[str]) -> bool:
        """Compare the recordings with each other; return whether some were left out, so all have to be read again."""
        if self.settings.checks == "off":
            return False
        problems = disagreements(self._evidence, self._intervals)
        if self.settings.checks == "warn":
            self.found.warnings += problems.values()
            return False
        again = False
        for split in splits:
            for label in map(self.label, self._files[split]):
                if label in problems:
                    self._report(split, label, problems[label])
                    again = self.skip
        return again

    def _without_skipped(self, splits: Sequence[str]) -> dict[str, RecordingTable]:
        fresh = replace(
            self,
            found=Reading(skipped=self.found.skipped),
            problems={},
            _seen={},
            _evidence={},
            _intervals={},
            _notes={},
        )
        tables = fresh.read(splits)
        self.found = fresh.found
        return tables

    def _check_repeated(self, split: str, label: str, recordings: Sequence[PreparedRecording]) -> None:
        """Refuse rows that are in another split too, whatever the name or format of the file."""
        digest = hashlib.blake2b(digest_size=16)
        for recording in recordings:
            digest.update(np.ascontiguousarray(recording.target).data)
            digest.update(np.ascontiguousarray(recording.inputs[::_EVERY]).data)
        other_split, other = self._seen.setdefault(digest.digest(), (split, label))
        if other == label:
            return
        if other_split != split:
            raise DataError(
                f"{label}: has the same rows as {other}; a recording in two splits makes errors look too small: "
                f"remove it from one of them, or leave it out of {split} with data.on_bad_file=skip"
            )
        _log.warning("%s: has the same rows as %s; the recording counts twice", label, other)

    def _report(self, split: str, label: str, problem: str) -> None:
        if self.skip:
            self.found.skipped[label] = problem
            _log.warning("left out: %s", problem)
        else:
            self.problems.setdefault(split, []).append(problem)

    def _raise_problems(self, splits: Sequence[str]) -> None:
        problems = list(dict.fromkeys(problem for split in splits for problem in self.problems.get(split, [])))
        if not problems:
            return
        first, *others = problems
        advice = "; " + first.partition("; ")[2]  # the same for all files with this problem, so it is shown once
        shown = [f"  also: {problem.removesuffix(advice)}" for problem in others[: _MOST_REPORTED - 1]]
        if len(others) > len(shown):
            shown.append(f"  and {len(others) - len(shown)} more files")
        raise DataError("\n".join([first, *shown]))


def _share(recordings: Sequence[PreparedRecording], share: tuple[float, float]) -> Sequence[PreparedRecording]:
    """Return the rows of a file between two shares of all its rows."""
    if share == (0.0, 1.0):
        return recordings
    total = sum(len(recording.time) for recording in recordings)
    first, last = (round(bound * total) for bound in share)
    kept, start = [], 0
    for recording in recordings:
        span = slice(max(first - start, 0), max(last - start, 0))
        start += len(recording.time)
        if len(recording.time[span]):
            kept.append(recording.rows(span))
    return kept or [recordings[0].rows(slice(0, 0))]


def _extended(inputs: np.ndarray, pairs: RCPairs | None) -> Tensor:
    """Return the features ``[n, F + K]`` of a recording, voltages of the RC pairs included."""
    features = torch.from_numpy(inputs)
    if pairs is None:
        return features
    return pairs(features.unsqueeze(0), pairs.zero_state(1))[0][0]


def _unique_names(folder: Path, names: Sequence[tuple[Path, int]]) -> list[str]:
    """Name recordings by their path without suffix where that is unique, and number the parts of a file."""
    paths = {path: path.relative_to(folder) for path, _ in names}
    short = {path: relative.with_suffix("").as_posix() for path, relative in paths.items()}
    if len(set(short.values())) < len(short):
        short = {path: relative.as_posix() for path, relative in paths.items()}
    return [short[path] if number == 1 else f"{short[path]}.part{number}" for path, number in names]
