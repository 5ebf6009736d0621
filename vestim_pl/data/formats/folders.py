"""Find and read the recordings of all splits, and report all problems at once."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.reading import READABLE
from vestim_pl.data.formats.recordings import Recording, read_recording, rows_at_most
from vestim_pl.data.formats.split_files import SplitFiles, list_split
from vestim_pl.data.recording_table import RecordingTable
from vestim_pl.errors import DataError
from vestim_pl.networks import RCPairs

__all__ = ["SplitReader", "find_recordings", "split_files"]

_log = logging.getLogger("vestim_pl")
_MOST_REPORTED = 10


def find_recordings(root: Path, split: str) -> list[Path]:
    """List the recordings in a split's folder and its subfolders, sorted by name.

    Raises:
        DataError: If the folder is missing, or has no recording.

    """
    return split_files(root, split).recordings


def split_files(root: Path, split: str) -> SplitFiles:
    """List the recordings in a split's folder and its subfolders, and the other files there.

    Raises:
        DataError: If the folder is missing, or has no recording.

    """
    folder = root / split
    if not root.is_dir():
        raise DataError(
            f"data.root: {root} is not a folder; set it to a folder with the subfolders train, val and test"
        )
    if not folder.is_dir():
        found = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "none"
        raise DataError(f"data.root: {root} has no subfolder {split!r} (found: {found}); put recordings into {folder}")
    files = list_split(folder)
    if not files.recordings:
        unread = f" ({unread})" if (unread := files.describe_unread()) else ""
        raise DataError(f"data.root: {folder} has no recording ({READABLE}){unread}; put recordings into it")
    return files


def demo_folder() -> Path:
    """Return the folder of the embedded recordings."""
    return Path(str(files("vestim_pl.data"))) / "demo"


def _in_memory(rows: int, features: int) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
    return torch.empty(rows, features), torch.empty(rows), np.empty(rows, dtype=np.float64)


@dataclass
class SplitReader:
    """Read the splits of a folder into tables, and collect all problems to report them together.

    Attributes:
        root: Folder with a subfolder for each split.
        columns: Column of each quantity.
        features: Input columns, in this order.
        minimum_rows: Smallest usable number of rows in a recording.
        minimum_reason: Setting that requires so many rows, for messages.
        skip: Whether to leave bad files out with a warning, instead of stopping.
        problems: One line for each bad file so far, by split.
        skipped: Files that were left out, with the reasons.
        rc_pairs: Pairs of resistor and capacitor whose voltages follow the features in each row.
        allocate: Allocates features ``[rows, features]``, voltage ``[rows]`` and time ``[rows]``.

    """

    root: Path
    columns: Columns
    features: Sequence[str]
    minimum_rows: int = 1
    minimum_reason: str = ""
    skip: bool = False
    rc_pairs: RCPairs | None = None
    problems: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    allocate: Callable[[int, int], tuple[Tensor, Tensor, NDArray[np.float64]]] = field(default=_in_memory)
    _seen: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    _files: dict[str, list[Path]] = field(default_factory=dict)

    def read(self, splits: Sequence[str]) -> dict[str, RecordingTable]:
        """Read and check all splits.

        Args:
            splits: Names of the subfolders. If a recording is in two of them and bad files are left out, the later
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
        self._raise_problems(splits)
        return {split: table for split in splits if (table := tables[split]) is not None}

    def recordings(self, split: str) -> list[Path]:
        """Return the files of a split, and log once which other files its folder has.

        Raises:
            DataError: If the folder is missing, or has no recording.

        """
        if split not in self._files:
            files = split_files(self.root, split)
            if unread := files.describe_unread():
                _log.warning("%s: %s", split, unread)
            self._files[split] = files.recordings
        return self._files[split]

    def _read_split(self, split: str, files: Sequence[Path]) -> RecordingTable | None:
        """Fill the table of one split file by file; memory for all rows is reserved once."""
        bound = sum(rows_at_most(path, self.columns) for path in files)
        width = len(self.features) + (len(self.rc_pairs.names) if self.rc_pairs else 0)
        inputs, target, time = self.allocate(bound, width)
        borders, names = [0], []
        for path in files:
            recording = self._read_file(split, path)
            if recording is None:
                continue
            first, last = borders[-1], borders[-1] + len(recording.target)
            inputs[first:last] = self._extended(torch.from_numpy(recording.inputs))
            target[first:last] = torch.from_numpy(recording.target)
            time[first:last] = recording.time
            borders.append(last)
            names.append(path.relative_to(self.root / split))
        if not names:
            if self.skip:
                reasons = "; ".join(reason for name, reason in self.skipped.items() if name.startswith(f"{split}/"))
                self.problems[split] = [f"data.root: no usable recording is left in {self.root / split}: {reasons}"]
            return None
        rows = borders[-1]
        short = [path.with_suffix("").as_posix() for path in names]
        unique = short if len(set(short)) == len(short) else [path.as_posix() for path in names]
        return RecordingTable(inputs[:rows], target[:rows], time[:rows], np.asarray(borders, dtype=np.int64), unique)

    def _read_file(self, split: str, path: Path) -> Recording | None:
        label = path.relative_to(self.root).as_posix()
        try:
            recording = read_recording(
                path, self.columns, self.features, self.minimum_rows, self.minimum_reason, label=label
            )
            self._check_repeated(split, label, recording)
        except DataError as error:
            self._report(split, label, str(error))
            return None
        return recording

    def _extended(self, inputs: Tensor) -> Tensor:
        """Return the features ``[n, F + K]`` of a recording, voltages of the RC pairs included."""
        if self.rc_pairs is None:
            return inputs
        return self.rc_pairs(inputs.unsqueeze(0), self.rc_pairs.zero_state(1))[0][0]

    def _check_repeated(self, split: str, label: str, recording: Recording) -> None:
        """Refuse rows that are in another split too, whatever the name or format of the file."""
        digest = hashlib.blake2b(np.ascontiguousarray(recording.inputs).data, digest_size=16)
        digest.update(recording.target.data)
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
            self.skipped[label] = problem
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
