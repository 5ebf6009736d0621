"""Files that are no recordings: damaged, of another kind, malicious, or with a table that can be read in two ways."""

import gzip
import io
import os
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

CANARY = "executed"


class Call:
    """An object that pickles as a call."""

    def __reduce__(self):
        return os.mkdir, (CANARY,)


def table(rows: int = 300) -> pd.DataFrame:
    """A sound recording."""
    row = np.arange(rows)
    return pd.DataFrame(
        {
            "Time": row.astype(float),
            "Current": np.round(np.sin(row), 4),
            "Voltage": np.round(3.7 + np.sin(row) / 20, 4),
            "Temp": 25.0,
            "SOC": np.round(1.0 - row / 10_000, 6),
        }
    )


def parquet() -> bytes:
    content = io.BytesIO()
    table().to_parquet(content)
    return content.getvalue()


def workbook() -> bytes:
    content = io.BytesIO()
    table().to_excel(content, index=False, engine="openpyxl")
    return content.getvalue()


def matlab(**options) -> bytes:
    from scipy.io import savemat

    content = io.BytesIO()
    savemat(content, {"meas": {name: values.to_numpy() for name, values in table().items()}}, **options)
    return content.getvalue()


def hdf5() -> bytes:
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w", userblock_size=512) as file:
        for name, values in table().items():
            file.create_dataset(f"meas/{name}", data=values.to_numpy()[None, :])
    return content.getvalue()


def hdf5_bomb() -> bytes:
    """A file of some kilobytes whose only variable has 8 TiB, none of which is stored."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("x", shape=(1 << 40,), dtype="f8", chunks=(1 << 16,))
    return content.getvalue()


def matlab_bomb() -> bytes:
    """A file of some kilobytes whose only variable says that it has 3.9 GiB when unpacked, and has 4 MB."""
    packed = zlib.compress(struct.pack("<II", 14, (1 << 32) - 8) + bytes(4_000_000))
    tags = [struct.pack("<II", 15, len(packed)) + packed] * 2
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + b"".join(tags)


def zipped(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def workbook_bomb(rows: str) -> bytes:
    """A sound workbook whose sheet is replaced."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook())) as sound, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as bomb:
        for member in sound.infolist():
            data = sound.read(member)
            if member.filename == "xl/worksheets/sheet1.xml":
                data = data.replace(b"</sheetData>", rows.encode() + b"</sheetData>")
            bomb.writestr(member.filename, data)
    return content.getvalue()


def _csv(**options) -> bytes:
    return table().to_csv(index=False, **options).encode()


def _junk(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _cut(content: Callable[[], bytes], share: float) -> Callable[[], bytes]:
    return lambda: content()[: int(share * len(content()))]


def _flipped(content: Callable[[], bytes]) -> Callable[[], bytes]:
    def damaged() -> bytes:
        data = bytearray(content())
        for position in range(len(data) // 3, 2 * len(data) // 3, 7):
            data[position] ^= 0x55
        return bytes(data)

    return damaged


CONTENTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    # nothing, or not a table
    "empty csv": ("a.csv", lambda: b""),
    "empty parquet": ("a.parquet", lambda: b""),
    "empty workbook": ("a.xlsx", lambda: b""),
    "blank lines": ("a.csv", lambda: b"\n \n\r\n\n"),
    "a byte order mark": ("a.csv", lambda: b"\xef\xbb\xbf"),
    "one word": ("a.csv", lambda: b"hello"),
    "prose": ("a.txt", lambda: b"The cell was cycled.\nIt was fine.\n" * 50),
    "one column": ("a.csv", lambda: b"Voltage\n" + b"3.7\n" * 50),
    "json": ("a.csv", lambda: b'{"Time": [0, 1, 2], "Voltage": [3.7, 3.6, 3.5]}'),
    "html": ("a.csv", lambda: b"<!DOCTYPE html><html><body><p>Not found</p></body></html>"),
    "page of a login": ("a.xlsx", lambda: b"<!DOCTYPE html><html><body><p>Please log in</p></body></html>"),
    "lfs pointer": ("a.parquet", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
    "no header": ("a.csv", lambda: _csv(header=False)),
    "no header, tabs": ("a.txt", lambda: _csv(header=False, sep="\t")),
    # damaged
    "zeros": ("a.csv", lambda: bytes(5000)),
    "zeros in parquet": ("a.parquet", lambda: bytes(5000)),
    "zeros in mat": ("a.mat", lambda: bytes(5000)),
    "junk csv": ("a.csv", lambda: _junk(1, 50_000)),
    "junk txt": ("a.txt", lambda: _junk(2, 1000)),
    "junk parquet": ("a.parquet", lambda: b"PAR1" + _junk(3, 9000) + b"PAR1"),
    "junk workbook": ("a.xlsx", lambda: b"PK\x03\x04" + _junk(4, 9000)),
    "junk old workbook": ("a.xls", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + _junk(5, 9000)),
    "junk mat": ("a.mat", lambda: b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + _junk(6, 9000)),
    "a hole in mat": ("a.mat", lambda: (lambda data: data[:200] + bytes(600) + data[800:])(matlab())),
    "junk mat 7.3": ("a.mat", lambda: b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n" + _junk(7, 9000)),
    "junk nda": ("a.nda", lambda: b"NEWARE" + _junk(8, 9000)),
    "junk gzip": ("a.csv.gz", lambda: b"\x1f\x8b\x08\0" + _junk(9, 9000)),
    "cut parquet": ("a.parquet", _cut(parquet, 0.5)),
    "parquet without its end": ("a.parquet", _cut(parquet, 0.99)),
    "cut workbook": ("a.xlsx", _cut(workbook, 0.5)),
    "cut mat": ("a.mat", _cut(matlab, 0.5)),
    "cut compressed mat": ("a.mat", _cut(lambda: matlab(do_compression=True), 0.5)),
    "cut mat 7.3": ("a.mat", _cut(hdf5, 0.5)),
    "cut gzip": ("a.csv.gz", _cut(lambda: gzip.compress(_csv()), 0.5)),
    "flipped workbook": ("a.xlsx", _flipped(workbook)),
    "flipped gzip": ("a.csv.gz", _flipped(lambda: gzip.compress(_csv()))),
    "flipped compressed mat": ("a.mat", _flipped(lambda: matlab(do_compression=True))),
    # another kind, or malicious
    "pickle as mat": ("a.mat", lambda: pickle.dumps(Call())),
    "pickle as csv": ("a.csv", lambda: pickle.dumps(Call(), protocol=2)),
    "pickle as parquet": ("a.parquet", lambda: pickle.dumps(Call())),
    "old pickle as csv": ("a.csv", lambda: pickle.dumps(Call(), protocol=0)),
    "zip of text": ("a.zip.csv", lambda: zipped({"a.csv": _csv()})),
    "zip as workbook": ("a.xlsx", lambda: zipped({"a.csv": _csv()})),
    "zip as ndax": ("a.ndax", lambda: zipped({"data.ndc": bytes(5000)})),
    "zip bomb": ("a.xlsx", lambda: zipped({f"xl/worksheets/sheet{n}.xml": bytes(50_000_000) for n in range(3)})),
    "bomb of one far cell": (
        "a.xlsx",
        lambda: workbook_bomb('<row r="1048576"><c r="XFD1048576" t="n"><v>1</v></c></row>'),
    ),
    "bomb in mat": ("a.mat", matlab_bomb),
    "bomb in mat 7.3": ("a.mat", hdf5_bomb),
    "mpr": ("a.mpr", lambda: b"BIO-LOGIC MODULAR FILE\x1a" + bytes(500)),
    "res": ("a.res", lambda: b"\0\1\0\0Standard Jet DB\0" + bytes(500)),
    "arrow": ("a.parquet", lambda: b"ARROW1\0\0" + bytes(500)),
    "pdf": ("a.csv", lambda: b"%PDF-1.7\n" + _junk(10, 500)),
    "7z": ("a.csv", lambda: b"7z\xbc\xaf\x27\x1c" + _junk(11, 500)),
    "picture": ("a.dat", lambda: b"\x89PNG\r\n\x1a\n" + _junk(12, 500)),
    "nda called ndx": ("a.dat", lambda: b"NEWARE" + bytes(500)),
    # a table that nobody can be certain about
    "a field more, filled": ("a.csv", lambda: _csv().replace(b"0.9999\n", b"0.9999,7\n")),
    "a field more in all rows": (
        "a.csv",
        lambda: b"Time,Voltage,Current\n" + b"".join(b"%d,3.7,1,9\n" % n for n in range(9)),
    ),
    "more names than fields": ("a.csv", lambda: b"Time, s,Voltage, V\n" + b"".join(b"%d,3.7\n" % n for n in range(9))),
    "an open quote": ("a.csv", lambda: _csv().replace(b"\n5.0,", b'\n"5.0,', 1)),
    "100,000 columns": ("a.csv", lambda: (",".join(map(str, range(100_000))) + "\n").encode() * 3),
    "100,000 named columns": ("a.csv", lambda: (",".join(f"c{n}" for n in range(100_000)) + "\n").encode()),
    "a line of 3 MB": ("a.csv", lambda: b"x" * 3_000_000 + b"\n1,2\n"),
    "utf-16 prose": ("a.csv", lambda: "No table, only text.\n".encode("utf-16") * 20),
    "cut utf-16": ("a.csv", lambda: "Time".encode("utf-16")[:-1]),
    "matrix without names": ("a.mat", lambda: _matrix()),
    "workbook without a table": ("a.xlsx", lambda: _notes()),
    "a password": ("a.xlsx", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4096)),
}


def _matrix() -> bytes:
    from scipy.io import savemat

    content = io.BytesIO()
    savemat(content, {"data": table().to_numpy()})
    return content.getvalue()


def _notes() -> bytes:
    content = io.BytesIO()
    pd.DataFrame({"Cell": ["A", "B"], "Remark": ["good", "bad"]}).to_excel(content, index=False)
    return content.getvalue()


def special(folder: Path) -> Iterator[tuple[str, Path]]:
    """Places in the file system that are no files."""
    (folder / "a folder.csv").mkdir()
    yield "a folder", folder / "a folder.csv"
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    yield "a link to itself", folder / "loop.csv"
    (folder / "dangling.csv").symlink_to(folder / "nothing")
    yield "a link to nothing", folder / "dangling.csv"
    os.mkfifo(folder / "pipe.csv")
    yield "a pipe", folder / "pipe.csv"
    yield "no file", folder / "nowhere.csv"
