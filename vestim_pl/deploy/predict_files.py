"""Predict the recordings of a file or a folder, each written again with the columns of the prediction."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa

from vestim_pl.data.formats.reading import READABLE
from vestim_pl.data.formats.split_files import list_split
from vestim_pl.deploy.model import VoltageModel
from vestim_pl.deploy.prediction import Figures
from vestim_pl.deploy.table_files import Format, write_batches
from vestim_pl.deploy.table_pieces import array_of, pieces
from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.files import whole_file, writing

__all__ = ["Job", "predict_file", "predicted_files"]

_log = logging.getLogger("vestim_pl")

_ONLY_READ = (".mat", ".xlsx", ".xlsm", ".xls", ".nda", ".ndax")
_NO_TEXT = (".parquet", ".pq", *_ONLY_READ)
Existing = Literal["refuse", "replace", "skip"]


@dataclass(frozen=True)
class Job:
    """One recording to predict.

    Attributes:
        source: The file.
        target: The file to write.
        kind: Format of the file to write.
        label: Name in messages: the path below the folder that was given.

    """

    source: Path
    target: Path
    kind: Format
    label: str


def predicted_files(source: Path, output: Path, kind: Format | None = None, existing: Existing = "refuse") -> list[Job]:
    """List what is to be predicted and where it is written; a folder gives the same tree.

    Args:
        source: A file, or a folder of files.
        output: Folder of the predictions.
        kind: Format of all files; None keeps that of each.
        existing: What to do where a file is there already.

    Raises:
        ConfigurationError: If the output would change the input, or a file is there already.
        DataError: If there is no recording.

    """
    if source.is_dir() and (output.resolve() == source.resolve() or source.resolve() in output.resolve().parents):
        raise ConfigurationError(
            f"output: {output} is in the input {source}, which stays unchanged; choose a folder outside it"
        )
    files, root = _recordings(source)
    kinds = {path: kind or _kind(path) for path in files}
    targets = {path: output / path.relative_to(root).with_name(f"{_stem(path)}.{kinds[path]}") for path in files}
    shared = {target for target, count in Counter(targets.values()).items() if count > 1}
    for path, target in targets.items():  # a.csv and a.parquet, both to Parquet
        if target in shared:
            targets[path] = output / path.relative_to(root).with_name(f"{path.name}.{kinds[path]}")
    jobs = [Job(path, targets[path], kinds[path], path.relative_to(root).as_posix()) for path in files]
    _refuse_overwriting(jobs, output, existing)
    return [job for job in jobs if existing != "skip" or not job.target.exists()]


def predict_file(model: VoltageModel, job: Job, progress: Callable[[int], object] = lambda rows: None) -> Figures:
    """Predict one recording; the file is whole or absent.

    Args:
        model: The model.
        job: Source and target.
        progress: Called with the number of rows of each batch that is done.

    Returns:
        Errors and counts.

    Raises:
        DataError: If the recording cannot be used.
        FileError: If the file cannot be written.

    """
    prediction = model.start(job.label, progress)
    if job.source.suffix.lower() in _ONLY_READ:
        prediction.figures.notes[f"{job.source.suffix} files are only read; the prediction is in Parquet or CSV"] = None

    def batches() -> Iterator[pa.Table]:
        for piece in pieces(job.source, job.label, model.settings, as_text=job.kind == "csv"):
            added = prediction.feed(piece.raw, piece.carried)
            resampled = model.settings.resample is not None
            yield _joined(None if resampled else piece.written, added)

    with writing(job.target):
        job.target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(job.target) as partial:
        write_batches(partial, job.kind, batches())
    return prediction.figures


def _joined(table: pa.Table | None, added: pd.DataFrame) -> pa.Table:
    """Put columns beside those of a table; None for a table of these columns alone."""
    own = {} if table is None else dict(zip(table.column_names, table.columns, strict=True))
    return pa.table(own | {str(name): array_of(added[name]) for name in added})


def _recordings(source: Path) -> tuple[list[Path], Path]:
    """Return the files and the folder to which they are relative."""
    if source.is_file():
        return [source], source.parent
    if not source.is_dir():
        raise DataError(f"input: {source} does not exist; give a file or a folder of recordings")
    found = list_split(source)
    unread = found.describe_unread()
    if not found.recordings:
        note = f" ({unread})" if unread else ""
        raise DataError(f"input: {source} has no file of {READABLE}{note}; give the folder of the recordings")
    if unread:
        _log.warning("%s", unread)
    return found.recordings, source


def _kind(path: Path) -> Format:
    """Text stays text; what is only read is written as Parquet."""
    return "parquet" if path.suffix.lower() in _NO_TEXT else "csv"


def _stem(path: Path) -> str:
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def _refuse_overwriting(jobs: Iterable[Job], output: Path, existing: Existing) -> None:
    sources = {job.source.resolve() for job in jobs}
    there = [job for job in jobs if job.target.exists()]
    for job in there:
        if job.target.resolve() in sources:
            raise ConfigurationError(f"output: {job.target} is the input; choose another folder than {output}")
    if there and existing == "refuse":
        what = f" and {len(there) - 1} more exist" if len(there) > 1 else " exists"
        raise ConfigurationError(
            f"output: {there[0].target}{what}; choose another folder, or add existing=replace to write again"
            " or existing=skip to keep what is there"
        )
