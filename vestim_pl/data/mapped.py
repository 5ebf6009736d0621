"""Tables in memory-mapped Arrow files, for recordings larger than memory."""

import hashlib
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from vestim_pl.data.recording_table import RecordingTable
from vestim_pl.data.rows import FileRows
from vestim_pl.data.split_reader import Reading, SplitReader
from vestim_pl.files import writing

__all__ = ["mapped_tables", "open_table", "write_table"]

_log = logging.getLogger("vestim_pl")
_FORMAT = 2


def mapped_tables(reader: SplitReader, splits: Sequence[str], cache: Path) -> tuple[dict[str, RecordingTable], Reading]:
    """Open tables whose rows stay in files; the operating system keeps in memory what is in use.

    The files are written once, with one recording in memory at a time. Their folder is named by a digest of the
    recordings' names, sizes and modification times and of the reader's settings, so a change writes new files. Any
    Arrow reader can open them.

    Args:
        reader: Reads and checks the recordings.
        splits: Names of the splits.
        cache: Folder for the files.

    Returns:
        The tables by split, and what was found out while the recordings were read.

    Raises:
        DataError: As in ``SplitReader.read``.
        FileError: If the cache cannot be written.

    """
    folder = cache / _fingerprint(reader, splits)
    known = folder.is_dir()
    if not known:
        _write_all(reader, splits, folder)
    found = Reading(**json.loads((folder / "found.json").read_text(encoding="utf-8")))
    if known:  # repeat the warnings of the run that wrote the files
        for problem in found.skipped.values():
            _log.warning("left out: %s", problem)
    _log.info("rows are mapped from %s", folder)
    return {split: open_table(folder / f"{split}.arrow") for split in splits}, found


def write_table(table: RecordingTable, path: Path) -> None:
    """Write a table as one record batch, without copying its rows."""
    features = table.features
    kinds = [("inputs", pa.list_(pa.float32(), features)), ("target", pa.float32()), ("time", pa.float64())]
    about = {"names": json.dumps(table.names), "borders": json.dumps(table.borders.tolist())}
    schema = pa.schema(kinds, metadata=about)
    inputs = pa.FixedSizeListArray.from_arrays(_array(table.inputs.numpy().reshape(-1)), features)
    columns = [inputs, _array(table.target.numpy()), _array(table.time)]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))


def open_table(path: Path) -> RecordingTable:
    """Map a table that ``write_table`` wrote; rows are read when used, and must not be written to."""
    with pa.ipc.open_file(pa.memory_map(str(path))) as file:
        about = file.schema.metadata
        batch = file.get_batch(0)
    rows = batch.num_rows
    features = batch.schema.field("inputs").type.list_size
    inputs = np.frombuffer(batch.column("inputs").flatten().buffers()[1], dtype=np.float32, count=rows * features)
    target = np.frombuffer(batch.column("target").buffers()[1], dtype=np.float32, count=rows)
    time = np.frombuffer(batch.column("time").buffers()[1], dtype=np.float64, count=rows)
    with warnings.catch_warnings():  # torch warns that the rows are read-only
        warnings.filterwarnings("ignore", message=".*not writable.*", category=UserWarning)
        tensors = torch.from_numpy(inputs.reshape(rows, features)), torch.from_numpy(target)
    borders = np.asarray(json.loads(about[b"borders"]), dtype=np.int64)
    return RecordingTable(*tensors, time, borders, json.loads(about[b"names"]))


def _write_all(reader: SplitReader, splits: Sequence[str], folder: Path) -> None:
    """Write all splits into a temporary folder and rename it last, so an interrupted write is never used."""
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".writing-"))
    try:
        reader.rows = lambda features: FileRows(work, features)
        tables = reader.read(splits)
        with writing(folder):
            for split, table in tables.items():
                write_table(table, work / f"{split}.arrow")
            del tables
            for scratch in work.glob("*.rows"):
                scratch.unlink()
            (work / "found.json").write_text(json.dumps(reader.found.to_dict()), encoding="utf-8")
            try:
                work.rename(folder)
            except OSError:
                if not folder.is_dir():  # another process may have been first
                    raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _array(values: np.ndarray) -> pa.Array:
    """Wrap NumPy's memory as an Arrow array."""
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(values)])


def _fingerprint(reader: SplitReader, splits: Sequence[str]) -> str:
    """Return a digest of the recordings and of all settings that the rows depend on."""
    files = []
    for split in splits:
        for path in reader.recordings(split):
            about = path.stat()
            files.append((reader.label(path), about.st_size, about.st_mtime_ns))
    rules = {split: reader.rules.of(split) for split in ("train", "val", "test")}
    pairs = reader.pairs_of(1.0)
    settings = [_FORMAT, reader.settings.to_dict(), rules, None if pairs is None else pairs.options]
    text = json.dumps([settings, reader.minimum_rows, reader.skip, str(reader.root.resolve()), files])
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
