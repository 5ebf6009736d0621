import resource
import tracemalloc

import pytest

from tests.data.formats.broken_files import CANARY, CONTENTS, special
from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.quantities import find_columns
from vestim_pl.data.formats.reading import read_table
from vestim_pl.errors import DataError


def read(path, label):
    table = read_table(path, label, wanted=Columns())
    find_columns(table.names, table.units, Columns(), label).require(["time", "current", "voltage"])


def refused(path, label):
    """The file is refused in one short line that begins with its name and ends in a fix."""
    with pytest.raises(DataError) as caught:
        read(path, label)
    message = str(caught.value)
    assert message.startswith(f"{label}: "), message
    assert message.endswith("data.on_bad_file=skip"), message
    assert message.isprintable(), message
    assert len(message) < 900
    return message


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_broken_file_is_refused_in_one_line(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, content = CONTENTS[kind]
    path = tmp_path / name
    path.write_bytes(content())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, "odd ü name.csv")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 600_000, "more than 600 MB"
    assert not (tmp_path / CANARY).exists()


def test_what_is_no_file_is_refused_in_one_line(tmp_path):
    for kind, path in special(tmp_path):
        refused(path, kind)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("mpr", ["EC-Lab", ".mpt", "galvani"]),
        ("res", ["Arbin", "mdbtools"]),
        ("pickle as mat", ["pickle"]),
        ("zip of text", ["zip archive", "unpack"]),
        ("zip bomb", ["unpacks to"]),
        ("bomb in mat", ["unpacks to 8.0 GiB"]),
        ("bomb in mat 7.3", ["unpacks to 8192.0 GiB"]),
        ("bomb of one far cell", ["1,048,576 rows and 16,384 columns"]),
        ("100,000 columns", ["more than 10,000 columns"]),
        ("no header", ["line 1", "0.0,0.0,3.7,25.0,1.0", "'data.csv.names=[Time,Current,Voltage,column4,column5]'"]),
        ("a field more, filled", ["row 1 (line 3 of the file)", "'7.0'", "5 names"]),
        ("more names than fields", ["line 1 has 4 names", "2 fields", "'0,3.7'"]),
        ("lfs pointer", ["git lfs pull"]),
        ("page of a login", ["web page"]),
        ("an open quote", ["row 5 (counted from 0)", "quotation mark"]),
    ],
)
def test_a_message_names_what_was_found(kind, parts, tmp_path):
    name, content = CONTENTS[kind]
    (tmp_path / name).write_bytes(content())
    message = refused(tmp_path / name, name)
    for part in parts:
        assert part in message, message


def test_a_gzip_bomb_stops_at_the_limit(tmp_path, monkeypatch):
    import gzip

    from vestim_pl.data.formats import text

    monkeypatch.setattr(text, "_MOST_UNPACKED", 1 << 22)
    with gzip.open(tmp_path / "a.csv.gz", "wb") as file:
        file.write(b"Time,Voltage\n" + b"0,0\n" * 4_000_000)
    tracemalloc.start()
    message = refused(tmp_path / "a.csv.gz", "a.csv.gz")
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()
    assert "unpacks to more than" in message
