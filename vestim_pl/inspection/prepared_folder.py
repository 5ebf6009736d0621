"""Write all recordings of a folder as Parquet, with a summary."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.raw_table import LEAVE_OUT
from vestim_pl.data.preparation.meaning.agreement import disagreements
from vestim_pl.data.preparation.settings import PreparationSettings
from vestim_pl.data.splits import SplitRules
from vestim_pl.errors import DataError, FileError
from vestim_pl.files import whole_file
from vestim_pl.inspection.inspected_folder import Recordings, find_splits
from vestim_pl.inspection.prepared_files import Written, standard_features, write_prepared
from vestim_pl.inspection.training_command import rc_pairs_for
from vestim_pl.reports.page import render_page
from vestim_pl.settings.command_line import command_line
from vestim_pl.settings.override import Override

__all__ = ["PreparedFolder", "prepare_folder"]

SUMMARY = "summary.html"


@dataclass(frozen=True)
class PreparedFolder:
    """What was written.

    Attributes:
        source: Folder or recording that was read.
        target: Folder of the output.
        written: What was written.
        failed: Why a file was not, by label.
        warnings: What a training on the output would refuse or warn of.
        command: Command that trains on the output.

    """

    source: Path
    target: Path
    written: list[Written]
    failed: dict[str, str]
    warnings: list[str]
    command: str

    def print(self) -> None:
        """Print bad files on standard error, and a summary."""
        for problem in self.failed.values():
            print(f"error: {problem}", file=sys.stderr)
        if self.failed:
            print(
                f"settings that the files need: {command_line('vestim_pl.inspect_data', str(self.source))}",
                file=sys.stderr,
            )
        for warning in self.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        for note, count in Counter(note for file in self.written for note in file.notes).items():
            print(f"note: {note} ({count} file{'' if count == 1 else 's'})")
        hours, total = sum(file.hours for file in self.written), len(self.written) + len(self.failed)
        print(
            f"{len(self.written)} of {total} recordings, {hours:.3g} h, written to {self.target}; see {SUMMARY} there"
        )
        if self.written:
            print(f"\ntrain with:\n{self.command}")


def prepare_folder(
    source: Path, target: Path, settings: PreparationSettings, advance: Callable[[str], None] = lambda label: None
) -> PreparedFolder:
    """Prepare and write one file after the other, with only one in memory.

    Args:
        source: Folder, or one recording.
        target: Folder of the output.
        settings: How each file is prepared.
        advance: Called with the label of each file before it is read.

    Raises:
        DataError: If there are no recordings.
        FileError: If a file cannot be written.

    """
    recordings = find_splits(source, SplitRules())
    labels = [recordings.label(path) for path in recordings.files]
    written, failed = list[Written](), dict[str, str]()
    for path, label in zip(recordings.files, labels, strict=True):
        advance(label)
        try:
            written.append(write_prepared(path, label, settings, target, _names(labels)))
        except FileError:  # the next one could not be written either
            raise
        except DataError as error:
            failed[label] = str(error).replace(f", {LEAVE_OUT}", "")
    evidence = {file.label: file.prepared.evidence for file in written if file.prepared.evidence is not None}
    problems = disagreements(evidence, {file.label: file.prepared.interval for file in written})
    warnings = [*(warning for file in written for warning in file.prepared.warnings), *problems.values()]
    folder = PreparedFolder(source, target, written, failed, warnings, _command(recordings, target, settings, written))
    if written:
        _write_summary(folder)
    return folder


def _names(labels: list[str]) -> Callable[[str], str]:
    """Name outputs by the path without suffix where that is unique."""
    stems = Counter(str(Path(label).with_suffix("")) for label in labels)

    def name_of(label: str) -> str:
        path = Path(label)
        stem = path.with_suffix("").as_posix()
        return stem if stems[str(path.with_suffix(""))] == 1 else f"{stem}.{path.suffix.lstrip('.')}"

    return name_of


def _command(recordings: Recordings, target: Path, prepared: PreparationSettings, written: list[Written]) -> str:
    settings = [Override("data", "folder"), Override("data.root", str(target)), *recordings.proposed]
    settings += rc_pairs_for(file.prepared.interval for file in written)
    if (features := standard_features(prepared)) != list(Columns().features):
        settings.append(Override("data.features", features))
    return " ".join([command_line("vestim_pl.train"), *map(str, settings), str(Override("preset", "fast", added=True))])


def _write_summary(folder: PreparedFolder) -> None:
    content = render_page(
        "prepared_folder.html",
        title=f"Prepared recordings · {folder.target.absolute().name}",
        folder=folder,
        hours=sum(file.hours for file in folder.written),
        notes=Counter(note for file in folder.written for note in file.notes),
    )
    with whole_file(folder.target / SUMMARY) as partial:
        partial.write_text(content, encoding="utf-8")
