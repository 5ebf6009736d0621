"""Inspect a folder of recordings: each file alone, then all together, then the command that trains on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vestim_pl.data.formats.reading import READABLE
from vestim_pl.data.formats.split_files import SplitFiles, list_split
from vestim_pl.data.preparation.meaning.agreement import disagreements, shared_interval
from vestim_pl.data.preparation.preparing import first_date
from vestim_pl.data.splits import BY_SHARE, SplitRules, assign, proposed_rules
from vestim_pl.errors import DataError
from vestim_pl.inspection.coverage import Coverage, coverage
from vestim_pl.inspection.inspected_file import COVERED, InspectedFile, SettingsOf, inspect_file
from vestim_pl.inspection.shared_settings import changed_values, majority_settings, shared_settings
from vestim_pl.settings.command_line import command_line
from vestim_pl.settings.override import Override, command_text

__all__ = ["SPLITS", "InspectedFolder", "Recordings", "find_splits", "inspect_folder"]

SPLITS = ("train", "val", "test")
_TRACED = 600_000  # rows of all traces of a page
_MOST_TRACED = 20_000
_LEAST_TRACED = 600
Advance = Callable[[str], None]


@dataclass(frozen=True)
class Recordings:
    """Files of a folder, and how they are split.

    Attributes:
        folder: What labels begin below.
        splits: Files of each split.
        rules: Rules of the split; shares of each file where they are too few.
        proposed: Settings that a training needs for these rules.
        unread: Other files, in words.

    """

    folder: Path
    splits: dict[str, list[Path]]
    rules: SplitRules
    proposed: tuple[Override, ...] = ()
    unread: str = ""

    @property
    def files(self) -> list[Path]:
        """All files, each once."""
        return list(dict.fromkeys(path for split in SPLITS for path in self.splits.get(split, [])))

    def label(self, path: Path) -> str:
        """Path below the folder."""
        return path.relative_to(self.folder).as_posix()


@dataclass(frozen=True)
class InspectedFolder:
    """What a folder has, and what a training on it needs.

    Attributes:
        recordings: The files and their splits.
        files: What each file is, with the settings of all, by label.
        shared: Settings that all files get.
        unusable: Why a file cannot be used together with the others, by label.
        unlike: Files whose values these settings would change, which no training should read.
        coverage: Where validation and test leave the training.

    """

    recordings: Recordings
    files: dict[str, InspectedFile]
    shared: tuple[Override, ...] = ()
    unusable: dict[str, str] = field(default_factory=dict)
    unlike: dict[str, str] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=lambda: Coverage({}, []))

    @property
    def guesses(self) -> tuple[Override, ...]:
        """Settings among ``shared`` that the user has to check."""
        guessed = {each.key for file in self.files.values() for each in file.guesses}
        return tuple(each for each in self.shared if each.key in guessed)

    def usable(self, split: str) -> list[InspectedFile]:
        """Return the files of a split that can be used."""
        labels = map(self.recordings.label, self.recordings.splits.get(split, []))
        return [self.files[label] for label in labels if label not in self.unusable]


def find_splits(root: Path, rules: SplitRules, date_of: Callable[[Path], object] | None = None) -> Recordings:
    """List the recordings of a folder and propose how to split them where it has no subfolders train, val and test.

    Args:
        root: Folder, or one recording.
        rules: Rules that the user gave, if any.
        date_of: Reads the date of a recording, for rules with dates.

    Raises:
        DataError: If there is no recording, or a rule names none.

    """
    folder = root.parent if root.is_file() else root
    found = SplitFiles([root]) if root.is_file() else list_split(root)
    if not found.recordings:
        unread = f" ({text})" if (text := found.describe_unread()) else ""
        raise DataError(f"{root}: has no file that can be read ({READABLE}){unread}; put recordings into it")
    unread = found.describe_unread()
    if rules.given:
        splits = assign(folder, found.recordings, rules, date_of or (lambda path: None))  # type: ignore[arg-type]
        return Recordings(folder, splits, rules, (), unread)
    if all((folder / split).is_dir() for split in SPLITS):
        splits = {split: [path for path in found.recordings if path.is_relative_to(folder / split)] for split in SPLITS}
        return Recordings(folder, splits, rules, (), unread)
    names = [path.relative_to(folder).as_posix() for path in found.recordings]
    proposed = proposed_rules(names) or BY_SHARE
    rules = SplitRules(**{each.key.rpartition(".")[2]: str(each.value) for each in proposed})
    return Recordings(folder, assign(folder, found.recordings, rules), rules, proposed, unread)


def inspect_folder(
    root: Path, rules: SplitRules, settings_of: SettingsOf, advance: Advance = lambda label: None, traces: bool = True
) -> InspectedFolder:
    """Inspect all files, one in memory at a time.

    Args:
        root: Folder, or one recording.
        rules: Rules that the user gave.
        settings_of: Returns the settings with some more of them.
        advance: Called with the label of each file before it is read.
        traces: Whether a page will draw the files.

    Raises:
        DataError: If there is no recording, or a rule names none.

    """
    settings = settings_of(())
    recordings = find_splits(root, rules, lambda path: first_date(path, settings, path.name))
    traced = min(_MOST_TRACED, max(_LEAST_TRACED, _TRACED // len(recordings.files))) if traces else 0
    files: dict[str, InspectedFile] = {}
    for path in recordings.files:
        label = recordings.label(path)
        advance(label)
        files[label] = inspect_file(path, label, settings_of, traced=traced)
    return _Together(recordings, settings_of, advance, traced).inspected(files)


@dataclass
class _Together:
    """Gives all files the same settings, and finds those that do not go with the others."""

    recordings: Recordings
    settings_of: SettingsOf
    advance: Advance
    traced: int

    def inspected(self, alone: Mapping[str, InspectedFile]) -> InspectedFolder:
        usable = {label: file for label, file in alone.items() if not file.failure}
        shared = shared_settings(file.settings for file in usable.values())
        files, apart, unlike = self._with_settings(usable, shared)
        if apart:  # these settings contradict each other in some files, so those of most files count
            shared = majority_settings([file.settings for file in usable.values()])
            files, apart, unlike = self._with_settings(usable, shared)
        resample = shared_interval({label: file.interval for label, file in files.items() if label not in apart})
        if resample is not None:
            shared = [*(each for each in shared if each.key != resample.key), resample]
            files, apart, unlike = self._with_settings(usable, shared)
        unusable = {label: file.failure for label, file in alone.items() if file.failure} | apart
        unusable |= self._disagreeing({label: file for label, file in files.items() if label not in unusable})
        unusable |= self._repeated({label: file for label, file in files.items() if label not in unusable})
        folder = InspectedFolder(self.recordings, {**alone, **files}, tuple(shared), unusable, unlike)
        return replace(folder, coverage=coverage(_samples(folder)))

    def _with_settings(
        self, usable: Mapping[str, InspectedFile], shared: Sequence[Override]
    ) -> tuple[dict[str, InspectedFile], dict[str, str], dict[str, str]]:
        """Inspect the files again that were inspected with other settings.

        Returns:
            The files, why some do not go with these settings, and those among them that would be read wrongly.

        """
        found, apart, unlike = dict(usable), dict[str, str](), dict[str, str]()
        paths = {self.recordings.label(path): path for path in self.recordings.files}
        for label, alone in usable.items():
            if {*map(str, alone.settings)} == {*map(str, shared)}:
                continue
            self.advance(label)
            again = inspect_file(paths[label], label, self.settings_of, shared, self.traced)
            changed = "" if again.failure else changed_values(alone.evidence, again.evidence, alone.columns)
            if again.failure or again.settings or changed:
                what = f"needs {command_text(alone.settings)}" if alone.settings else "needs no setting"
                why = f"their settings would change its {changed}" if changed else "cannot be read with their settings"
                own = " ".join([command_line("vestim_pl.prepare", str(paths[label]), "OUT"), *map(str, alone.settings)])
                apart[label] = f"{what}, unlike the other files: {why}; write it into another folder with {own}"
                if changed:
                    unlike[label] = apart[label]
            else:
                found[label] = replace(again, fixes=alone.fixes, guesses=alone.guesses, reasons=alone.reasons)
        return found, apart, unlike

    def _disagreeing(self, files: Mapping[str, InspectedFile]) -> dict[str, str]:
        evidence = {label: file.evidence for label, file in files.items() if file.evidence is not None}
        problems = disagreements(evidence, {label: file.interval for label, file in files.items()})
        return {
            label: text.removeprefix(f"{label}: ").partition(", leave it out")[0] for label, text in problems.items()
        }

    def _repeated(self, files: Mapping[str, InspectedFile]) -> dict[str, str]:
        """Find recordings that are in two splits; a training that leaves bad files out keeps the later split's."""
        if self.recordings.rules.by_share:
            return {}
        seen: dict[bytes, tuple[str, str]] = {}
        repeated = {}
        for split in reversed(SPLITS):
            for label in map(self.recordings.label, self.recordings.splits.get(split, [])):
                if label not in files:
                    continue
                other_split, other = seen.setdefault(files[label].digest, (split, label))
                if other_split != split:
                    repeated[label] = f"has the same rows as {other}: the recording is in {split} and in {other_split}"
        return repeated


def _samples(folder: InspectedFolder) -> dict[str, NDArray[np.float32]]:
    """Rows at equal distances of each split."""
    samples = {}
    for split in SPLITS:
        low, high = folder.recordings.rules.share(split)
        rows = [
            file.sample[round(low * len(file.sample)) : round(high * len(file.sample))] for file in folder.usable(split)
        ]
        samples[split] = np.concatenate(rows) if rows else np.empty((0, len(COVERED)), np.float32)
    return samples
