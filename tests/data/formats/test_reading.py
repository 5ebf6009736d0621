import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.formats.written import BINARIES, QUANTITIES, TEXTS, recording, text
from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.quantities import find_columns
from vestim_pl.data.formats.raw_table import FileOptions
from vestim_pl.data.formats.reading import has_known_suffix, read_table
from vestim_pl.data.formats.times import seconds
from vestim_pl.data.formats.units import unit_of
from vestim_pl.errors import DataError


def quantities(path: Path, options: FileOptions | None = None, columns: Columns | None = None) -> dict[str, np.ndarray]:
    """Values by quantity, found by the known names."""
    columns = columns or Columns()
    table = read_table(path, path.name, options, columns)
    found = find_columns(table.names, table.units, columns, path.name)
    found.require(QUANTITIES)
    time = found.columns["time"]
    values = {"time": seconds(table.frame[time], path.name, time, unit_of(time, table.units), where=table.where)}
    return values | {name: table.frame[found.columns[name]].to_numpy(np.float64) for name in QUANTITIES[1:]}


def assert_same(got: dict[str, np.ndarray], frame: pd.DataFrame, exact: bool = True) -> None:
    time = got.pop("time")
    assert np.array_equal(np.round(time - time[0], 6), np.round(frame["Time"] - frame["Time"].iloc[0], 6))
    for (name, values), column in zip(got.items(), ("Current", "Voltage", "Temp", "SOC"), strict=True):
        assert np.array_equal(values.astype(np.float32), frame[column].to_numpy(np.float32)), name


@pytest.mark.parametrize("kind", [*TEXTS, *BINARIES])
def test_every_format_gives_the_same_values(kind, tmp_path):
    name, write = (TEXTS | BINARIES)[kind]
    (tmp_path / name).write_bytes(write(recording()))
    assert_same(quantities(tmp_path / name), recording())


_NAMES = ["Test Time [s]", "Current [A]", "Voltage [V]", "Temperature [°C]", "SOC [1]"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(2, 40),
    seed=st.integers(0, 9),
    separator=st.sampled_from(",;\t|"),
    comma=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    ending=st.sampled_from(["\n", "\r\n"]),
    preamble=st.lists(
        st.sampled_from(["Cell: 7", "", "Start,3/4/2031 8:00", "Capacity; 3", "a\tb", 'Remark, "x", y']), max_size=8
    ),
    trailing=st.integers(0, 2),
    in_row_of_units=st.booleans(),
)
def test_a_text_means_the_same_however_it_is_written(
    tmp_path, rows, seed, separator, comma, encoding, ending, preamble, trailing, in_row_of_units
):
    frame = recording(rows, seed)
    names = [name.split(" [")[0] for name in _NAMES] if in_row_of_units else _NAMES
    decimal = "," if comma and separator != "," else "."
    lines = text(frame, names, sep=separator, decimal=decimal).decode().splitlines()
    if in_row_of_units:
        lines.insert(1, separator.join(f"[{name.split(' [')[1]}" for name in _NAMES))
    lines = [*preamble, *(line + separator * trailing for line in lines)]
    path = tmp_path / "r.csv"
    path.write_bytes((ending.join(lines) + ending).encode(encoding))
    assert_same(quantities(path), frame)


def test_only_the_columns_asked_for_are_read_in_every_format(tmp_path):
    frame = recording(20).assign(Note="x", Humidity=1.5)
    for kind in ("comma", "parquet", "workbook", "MATLAB 5, struct"):
        name, write = (TEXTS | BINARIES)[kind]
        (tmp_path / name).write_bytes(write(frame))
        table = read_table(tmp_path / name, wanted=Columns(), extra=["Humidity", "Absent"])
        assert sorted(table.frame) == sorted([*recording(1), "Humidity"]), kind
        assert sorted(table.names) == sorted(frame), kind
        assert sorted(read_table(tmp_path / name).frame) == sorted(frame), kind


def test_a_row_is_described_by_its_line(tmp_path):
    (tmp_path / "r.csv").write_bytes(b"Cell, 1\n\nTime,Voltage\n[s],[V]\n0,3.7\n\n1,3.6\n")
    table = read_table(tmp_path / "r.csv")
    assert table.first_line == 5
    assert [table.where(row) for row in (0, 1)] == ["row 0 (line 5 of the file)", "row 1 (line 7 of the file)"]
    recording(5).to_parquet(tmp_path / "r.parquet")
    assert read_table(tmp_path / "r.parquet").where(3) == "row 3 (counted from 0)"
    name, write = TEXTS["records in steps in cycles"]
    (tmp_path / name).write_bytes(write(recording(40)))
    lines = (tmp_path / name).read_text().splitlines()
    number = int(read_table(tmp_path / name).where(35).split("line ")[1].split()[0])
    assert lines[number - 1].startswith(f",,{recording(40)['Time'][35]},")


def test_units_are_those_of_the_file(tmp_path):
    (tmp_path / "r.csv").write_text("Time,I,U,T1,Rest\n[ms],[mA],,[K],\n0,1,2,3,4\n1,1,2,3,4\n")
    table = read_table(tmp_path / "r.csv")
    assert {name: str(unit_of(name, table.units)) for name in table.names} == {
        "Time": "ms",
        "I": "mA",
        "U": "None",
        "T1": "K",
        "Rest": "None",
    }


def test_notes_say_what_an_ordinary_file_does_not_have(tmp_path):
    for kind, parts in {
        "comma": [],
        "decimal comma": ["separator ';'", "decimal comma"],
        "preamble": ["names in line 7"],
        "cp1252": ["encoding cp1252"],
        "row of units": ["row of units"],
        "records in steps in cycles": ["2 levels"],
    }.items():
        name, write = TEXTS[kind]
        (tmp_path / name).write_bytes(write(recording()))
        notes = " ".join(read_table(tmp_path / name).notes)
        assert all(part in notes for part in parts), notes
        assert bool(notes) == bool(parts)


def test_options_win_over_what_is_found(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(text(recording(), header=False))
    names = ("Time", "Current", "Voltage", "Temp", "SOC")
    assert_same(quantities(path, FileOptions(names=names)), recording())
    path.write_bytes(text(recording()))
    swapped = quantities(path, FileOptions(names=("Time", "Voltage", "Current", "Temp", "SOC")))
    assert np.array_equal(swapped["voltage"], recording()["Current"])
    with pytest.raises(DataError, match=r"data\.csv\.names has 4 names, and a row has 5 columns"):
        quantities(path, FileOptions(names=names[:4]))
    path.write_bytes(b"Time;Current;Voltage;Temp;SOC;Version\n0;1,5;3,7;25;1;1.5\n1;1,5;3,7;25;1;1.5\n")
    assert quantities(path, FileOptions(decimal=","), Columns())["voltage"].tolist() == [3.7, 3.7]
    path.write_bytes(b"1,2\n3,4\nTime,Current,Voltage,Temp,SOC\n0,1,3.7,25,1\n1,1,3.6,25,1\n")
    assert quantities(path, FileOptions(header_row=3))["voltage"].tolist() == [3.7, 3.6]
    path.write_bytes(text(recording(), ["时间", "电流", "电压", "温度", "SOC"], "gbk"))
    assert_same(quantities(path, FileOptions(encoding="gbk")), recording())


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("gb18030", ["时间", "电流(A)", "电压(V)", "温度(℃)", "SOC"]),
        ("shift_jis", ["時間(s)", "電流(A)", "電圧(V)", "温度(℃)", "SOC"]),
        ("cp949", ["시간(s)", "전류(A)", "전압(V)", "온도(℃)", "SOC"]),
        ("big5", ["時間", "電流(A)", "電壓(V)", "溫度", "SOC"]),
    ],
)
def test_an_asian_encoding_is_found_by_the_names_of_the_columns(tmp_path, encoding, names):
    (tmp_path / "r.csv").write_bytes(text(recording(), names, encoding))
    assert_same(quantities(tmp_path / "r.csv"), recording())


def test_a_sheet_or_variable_is_chosen_where_several_have_the_table(tmp_path):
    frame, other = recording(), recording(30, seed=1)
    path = tmp_path / "r.xlsx"
    with pd.ExcelWriter(path, engine="openpyxl") as book:
        frame.to_excel(book, sheet_name="Cell 1", index=False)
        other.to_excel(book, sheet_name="Cell 2", index=False)
    with pytest.raises(DataError, match=r"2 sheets .* 'data.sheet=\"Cell 1\"' or 'data.sheet=\"Cell 2\"'"):
        read_table(path)
    assert_same(quantities(path, FileOptions(sheet="Cell 2")), other)
    with pytest.raises(DataError, match=r"no sheet 'Cell 3'; set data.sheet to one of 'Cell 1', 'Cell 2'"):
        read_table(path, options=FileOptions(sheet="Cell 3"))
    from scipy.io import savemat

    tables = {name: {key: part[key].to_numpy() for key in part} for name, part in {"a": frame, "b": other}.items()}
    savemat(tmp_path / "r.mat", {"cell1": tables})
    with pytest.raises(DataError, match=r"2 tables .*data\.sheet=cell1\.a"):
        read_table(tmp_path / "r.mat")
    assert_same(quantities(tmp_path / "r.mat", FileOptions(sheet="cell1.b")), other)


def test_sheets_that_continue_each_other_are_one_recording(tmp_path):
    path = tmp_path / "r.xlsx"
    frame = recording()
    with pd.ExcelWriter(path, engine="openpyxl") as book:
        frame.iloc[:40].to_excel(book, sheet_name="Channel_1-008_1", index=False)
        frame.iloc[40:].to_excel(book, sheet_name="Channel_1-008_2", index=False)
    assert_same(quantities(path), frame)


@pytest.mark.parametrize("kind", ["comma", "parquet", "workbook"])
def test_two_columns_with_one_name_are_numbered_and_refused(kind, tmp_path):
    name, write = (TEXTS | BINARIES)[kind]
    frame = pd.concat(
        [recording(), recording(seed=1)[["Voltage"]].set_axis(["Voltage "], axis="columns")], axis="columns"
    )
    (tmp_path / name).write_bytes(write(frame))
    with pytest.raises(DataError, match=r"'Voltage' is there 2 times: 'Voltage #1' and 'Voltage #2'"):
        quantities(tmp_path / name)
    second = quantities(tmp_path / name, columns=Columns(voltage="Voltage #2"))
    assert np.array_equal(second["voltage"], recording(seed=1)["Voltage"])


def test_names_repeated_in_the_middle_lose_no_rows(tmp_path):
    half = text(recording(20))
    (tmp_path / "r.csv").write_bytes(half + text(recording(40)))
    table = read_table(tmp_path / "r.csv")
    assert table.first_line == 2
    with pytest.raises(DataError, match=r"row 20 \(line 22 of the file\) is not a time but 'Time'"):
        quantities(tmp_path / "r.csv")


@pytest.mark.parametrize(
    ("package", "extra", "kind"),
    [("pymatreader", "mat", "MATLAB 5, struct"), ("python_calamine", "excel", "workbook")],
)
def test_a_missing_package_is_named_with_its_extra(package, extra, kind, tmp_path, monkeypatch):
    name, write = BINARIES[kind]
    (tmp_path / name).write_bytes(write(recording()))
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(DataError, match=rf"^r\..*{package}.*; install it with pip install 'vestim_pl\[{extra}\]'"):
        read_table(tmp_path / name, name)


def test_neware_names_its_extra_too(tmp_path, monkeypatch):
    (tmp_path / "r.nda").write_bytes(b"NEWARE" + bytes(600))
    monkeypatch.setitem(__import__("sys").modules, "fastnda", None)
    with pytest.raises(DataError, match=r"pip install 'vestim_pl\[neware\]'"):
        read_table(tmp_path / "r.nda", "r.nda")


def test_every_suffix_in_capitals_and_packed():
    known = [
        ".parquet",
        ".csv",
        ".txt",
        ".tsv",
        ".mpt",
        ".dat",
        ".001",
        ".mat",
        ".xlsx",
        ".xls",
        ".nda",
        ".ndax",
        ".csv.gz",
    ]
    for suffix, change in itertools.product(known, (str.lower, str.upper)):
        assert has_known_suffix(Path(f"a{change(suffix)}")), suffix
    assert not any(
        has_known_suffix(Path(name)) for name in ("a", "a.md", "a.gz", "a.parquet.gz", "a.json", "a.01", "a.0001")
    )


def test_the_format_is_said_with_the_tester_where_its_names_show_it(tmp_path):
    for kind, expected in {
        "comma": "CSV",
        "tab": "Text",
        "BDF labels": "CSV (Battery Data Format)",
        "parquet": "Parquet",
        "workbook": "workbook",
        "MATLAB 4": "MATLAB 4",
        "MATLAB 7, packed": "MATLAB 5",
        "MATLAB 7.3": "MATLAB 7.3",
    }.items():
        name, write = (TEXTS | BINARIES)[kind]
        (tmp_path / name).write_bytes(write(recording()))
        assert read_table(tmp_path / name).format == expected
