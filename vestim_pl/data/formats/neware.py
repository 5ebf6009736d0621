"""Read the binary files of Neware testers."""

import logging
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.foreign import check_zip, faults_as_one_line, needed
from vestim_pl.data.formats.quantities import columns_to_read
from vestim_pl.data.formats.raw_table import LEAVE_OUT, FileOptions, RawTable
from vestim_pl.data.formats.units import units_of_names
from vestim_pl.errors import DataError, printable

__all__ = ["read_neware"]


def read_neware(
    path: Path, label: str, options: FileOptions, wanted: Columns | None = None, extra: Sequence[str] = ()
) -> RawTable:
    """Read a ``.nda`` or ``.ndax`` file; the arguments are those of `read_table`."""
    if path.suffix.lower() not in (".nda", ".ndax"):
        suffix = ".ndax" if zipfile.is_zipfile(path) else ".nda"
        raise DataError(f"{label}: is a file of a Neware tester; rename it to {path.stem}{suffix}, {LEAVE_OUT}")
    fastnda = needed("fastnda", "neware", label)
    if path.suffix.lower() == ".ndax":
        check_zip(path, label)
    with faults_as_one_line(label, "a Neware file"), _logged() as notes:
        records = fastnda.read(path)
        names = list(records.columns)
        units = units_of_names(names)
        chosen = columns_to_read(names, units, wanted, extra)
        frame = records.select(chosen).to_pandas()
    return RawTable(frame, names, units, f"Neware {path.suffix.lower()}", notes)


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect what the reader logs, instead of printing it."""
    notes: list[str] = []

    class _Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(printable(record.getMessage()))

    logger, handler = logging.getLogger("fastnda"), _Collector()
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield notes
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
