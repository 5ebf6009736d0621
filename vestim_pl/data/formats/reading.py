"""Read a recording's file in whatever format it is, found by its content."""

from collections.abc import Callable, Sequence
from pathlib import Path

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.foreign import check_zip, faults_as_one_line
from vestim_pl.data.formats.matlab import read_matlab
from vestim_pl.data.formats.neware import read_neware
from vestim_pl.data.formats.parquet import read_parquet
from vestim_pl.data.formats.raw_table import LEAVE_OUT, FileOptions, RawTable
from vestim_pl.data.formats.text import read_text
from vestim_pl.data.formats.workbook import read_workbook
from vestim_pl.errors import DataError

__all__ = ["CONVERTERS", "READABLE", "has_known_suffix", "read_table"]

READABLE = "Parquet, CSV and other text, MATLAB, Excel or Neware"
"""The formats in words."""

_TEXT = (".csv", ".txt", ".tsv", ".tab", ".mpt", ".dat", ".asc")
_SUFFIXES = (".parquet", ".pq", *_TEXT, ".mat", ".xlsx", ".xlsm", ".xls", ".ods", ".nda", ".ndax")
_Reader = Callable[[Path, str, FileOptions, Columns | None, Sequence[str]], RawTable]

CONVERTERS = {
    ".mpr": "a binary file of EC-Lab; export it there as text (.mpt), or convert it with galvani or yadg",
    ".res": "a database of Arbin; export it in MITS Pro as CSV or Excel, or convert it with mdbtools or cellpy",
}
"""What to do with files that only other programs read, by suffix."""

_NOT_READ = {  # first bytes: what the file is, and what to do with it
    b"BIO-LOGIC MODULAR FILE": CONVERTERS[".mpr"],
    b"\x00\x01\x00\x00Standard Jet DB": CONVERTERS[".res"],
    b"\x00\x01\x00\x00Standard ACE DB": CONVERTERS[".res"],
    **{
        bytes([0x80, protocol]): "a pickle, and reading one can run any code; write it as Parquet"
        for protocol in (2, 3, 4, 5)
    },
    b"ARROW1": "an Arrow or Feather file; write it as Parquet",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself with git lfs pull",
    b"<!DOCTYPE html": "a web page; download the file again",
    b"<html": "a web page; download the file again",
    b"<?xml": "an XML file; export the data as CSV",
    b'{"': "a JSON file; write it as CSV or Parquet",
    b"[{": "a JSON file; write it as CSV or Parquet",
    b"%PDF": "a PDF; export the data as CSV",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"BZh": "packed with bzip2; unpack it, or pack it with gzip",
    b"\xfd7zXZ": "packed with xz; unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it, or pack it with gzip",
}


def read_table(
    path: Path,
    label: str = "",
    options: FileOptions | None = None,
    wanted: Columns | None = None,
    extra: Sequence[str] = (),
) -> RawTable:
    """Read a file as it is: names and units as written, values not yet checked.

    Args:
        path: A file in any readable format; its content decides, not its suffix.
        label: Name of the file in messages; the path by default.
        options: What the user says about the file.
        wanted: Read only the columns of these quantities, under their names or known synonyms; None reads all columns.
        extra: Further columns to read where the file has them.

    Raises:
        DataError: One line, if the file is damaged, of no known format, or has no table. A column that is missing is
            refused later, by `FoundColumns.require`.

    """
    label = label or str(path)
    try:
        if not path.is_file():
            raise DataError(f"{label}: is not a file; remove it, {LEAVE_OUT}")
        with path.open("rb") as file:
            head = file.read(4096)
        if not head:
            raise DataError(f"{label}: is empty; remove the file, {LEAVE_OUT}")
        reader = _reader(path, head, label)
        with faults_as_one_line(label, "Parquet" if reader is read_parquet else "a table"):
            return reader(path, label, options or FileOptions(), wanted, extra)
    except OSError as error:
        raise DataError(f"{label}: cannot be opened ({error.strerror or error}); check the file, {LEAVE_OUT}") from None


def has_known_suffix(path: Path) -> bool:
    """Whether a file is a recording by its name; testers number text files: ``.001``.

    Example::

        >>> [has_known_suffix(Path(name)) for name in ("a.CSV", "a.csv.gz", "a.001", "a.md")]
        [True, True, True, False]

    """
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return Path(path.stem).suffix.lower() in _TEXT
    return suffix in _SUFFIXES or (len(suffix) == 4 and suffix[1:].isdigit())


def _reader(path: Path, head: bytes, label: str) -> _Reader:
    for start, what in _NOT_READ.items():
        if head.startswith(start):
            raise DataError(f"{label}: is {what}, {LEAVE_OUT}")
    if head.startswith(b"PAR1"):
        return read_parquet
    if head.startswith(b"PK"):
        return _reader_of_zip(path, label)
    if head.startswith(b"\xd0\xcf\x11\xe0"):  # the container of .xls
        return read_workbook
    if head.startswith(b"NEWARE"):
        return read_neware
    if head.startswith(b"MATLAB") or any(head[start:].startswith(b"\x89HDF\r\n") for start in (0, 512, 1024, 2048)):
        return read_matlab
    if path.suffix.lower() in (".parquet", ".pq"):
        return read_parquet
    if path.suffix.lower() == ".mat" and head[:4] in (b"\0\0\0\0", b"\0\0\x03\xe8"):  # MATLAB 4 has no name in front
        return read_matlab
    return read_text


def _reader_of_zip(path: Path, label: str) -> _Reader:
    members = check_zip(path, label)
    if any(name.startswith("xl/") for name in members) or {"mimetype", "content.xml"} <= set(members):
        return read_workbook
    if any(name.endswith(".ndc") for name in members):
        return read_neware
    raise DataError(f"{label}: is a zip archive; unpack it, {LEAVE_OUT}")
