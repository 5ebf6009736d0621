import decimal

import numpy as np
import pandas as pd
import pytest

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.recordings import read_recording, rows_at_most
from vestim_pl.errors import DataError

FEATURES = ("SOC", "Current", "Temp")


def read(path, **options):
    columns = options.pop("columns", Columns())
    return read_recording(path, columns, options.pop("features", columns.features), label=path.name, **options)


def save(frame, path):
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path


def refused(frame, path, *parts, **options):
    """The file is refused in one line that begins with its name and has all these parts and a fix."""
    with pytest.raises(DataError) as caught:
        read(save(frame, path), **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in (path.name, *parts):
        assert part in message, message
    return message


@pytest.fixture(params=["r.parquet", "r.csv"])
def path(tmp_path, request):
    return tmp_path / request.param


def test_csv_equals_parquet(tmp_path, recording):
    frame = recording(50)
    one, other = (read(save(frame, tmp_path / name)) for name in ("r.parquet", "r.csv"))
    for left, right in zip(one, other, strict=True):
        assert np.array_equal(left, right)
        assert left.dtype == right.dtype
    assert np.array_equal(one.inputs[:, 1], frame["Current"].to_numpy(np.float32))
    assert np.array_equal(one.target, frame["Voltage"].to_numpy(np.float32))
    assert one.time.dtype == np.float64


def test_columns_may_have_any_names_and_features_any_order(path, recording):
    frame = recording(9).rename(columns={"Voltage": "U [V]", "Time": "t"}).assign(Humidity=np.arange(9), Note="x")
    columns = Columns(voltage="U [V]", time="t")
    got = read(save(frame, path), columns=columns, features=("Humidity", "Current"))
    assert np.array_equal(got.inputs, frame[["Humidity", "Current"]].to_numpy(np.float32))


def test_integers_and_missing_unused_columns_are_fine(path, recording):
    frame = recording(5).astype({"Temp": int}).drop(columns="SOC")
    assert read(save(frame, path), features=("Temp",)).inputs.tolist() == [[25.0]] * 5


def test_a_missing_column_names_the_nearest_and_the_setting(path, recording):
    frame = recording(5).rename(columns={"Voltage": "voltage_V"})
    refused(frame, path, "column 'Voltage' is missing", "nearest is 'voltage_V'", "data.columns.voltage=voltage_V")
    frame = recording(5).rename(columns={"SOC": "charge"})
    refused(frame, path, "column 'SOC' is missing", "'charge'", "data.columns.soc=...", "rename the column")
    refused(recording(5), path, "column 'Tmp' is missing", "nearest is 'Temp'", "data.features", features=("Tmp",))


def test_text_is_refused_with_its_row(path, recording):
    frame = recording(8).astype({"Current": object})
    frame.loc[3, "Current"] = "n/k"
    if path.suffix == ".parquet":
        frame["Current"] = frame["Current"].astype(str)
    row = "row 3 (line 5 of the file)" if path.suffix == ".csv" else "row 3 (counted from 0)"
    refused(frame, path, "column 'Current'", row, "'n/k'", "correct it", "data.on_bad_file=skip")


def test_numbers_stored_as_text_are_refused(tmp_path, recording):
    refused(
        recording(4).astype({"Voltage": str}), tmp_path / "r.parquet", "column 'Voltage'", "row 0", "stored as text"
    )


def test_a_decimal_comma_is_refused(tmp_path, recording):
    frame = recording(4).astype({"Voltage": object})
    frame["Voltage"] = "3,7"
    refused(frame, tmp_path / "r.csv", "column 'Voltage'", "row 0", "'3,7'", "decimal point")


def test_decimals_are_numbers(tmp_path, recording):
    frame = recording(4).assign(Voltage=[decimal.Decimal("3.5")] * 4)
    assert read(save(frame, tmp_path / "r.parquet")).target.tolist() == [3.5] * 4


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN or missing"), (np.inf, "is Inf"), (-np.inf, "is -Inf")])
@pytest.mark.parametrize("column", ["Voltage", "Temp"])
def test_what_is_not_finite_is_refused_with_its_row(path, recording, column, value, name):
    frame = recording(9)
    frame.loc[[4, 7], column] = value
    row = "row 4 (line 6 of the file)" if path.suffix == ".csv" else "row 4 (counted from 0)"
    refused(frame, path, f"column {column!r}", row, name, "2 such of 9 rows", "remove these rows")


def test_a_missing_integer_is_refused(tmp_path, recording):
    frame = recording(3).assign(Temp=pd.array([1, None, 3], dtype="Int64"))
    refused(frame, tmp_path / "r.parquet", "column 'Temp'", "row 1", "NaN or missing")


def test_what_single_precision_cannot_hold_is_refused(path, recording):
    frame = recording(4)
    frame.loc[2, "Current"] = 1e39
    refused(frame, path, "column 'Current'", "row 2", "1e+39, beyond single precision")


def test_dates_are_no_feature(tmp_path, recording):
    frame = recording(3).assign(Temp=pd.date_range("2024-01-01", periods=3, freq="s"))
    refused(frame, tmp_path / "r.parquet", "column 'Temp' has dates")


def test_no_rows(path, recording):
    refused(recording(0), path, "has no rows", "remove the file")


def test_an_empty_file_and_one_that_is_none(tmp_path):
    (tmp_path / "r.csv").write_text("")
    with pytest.raises(DataError, match=r"^r\.csv: is empty; remove the file"):
        read(tmp_path / "r.csv")
    (tmp_path / "r.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"^r\.parquet: cannot be read \(.*\); write it again"):
        read(tmp_path / "r.parquet")
    (tmp_path / "r.csv").write_bytes("Time,Temp [°C]\n1,2\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"^r\.csv: cannot be read"):
        read(tmp_path / "r.csv")


def test_too_few_rows_name_what_needs_them(path, recording):
    refused(
        recording(7),
        path,
        "has 7 rows but sampling.lookback=8 needs at least 8",
        "smaller value",
        minimum_rows=8,
        reason="sampling.lookback=8",
    )
    assert len(read(save(recording(8), path), minimum_rows=8).target) == 8


@pytest.mark.parametrize(("time", "shown"), [(2.0, "2 after 2"), (1.5, "1.5 after 2")])
def test_time_has_to_increase(path, recording, time, shown):
    frame = recording(6)
    frame.loc[3, "Time"] = time
    row = "row 3 (line 5 of the file)" if path.suffix == ".csv" else "row 3 (counted from 0)"
    refused(frame, path, "column 'Time'", row, "time does not increase", shown, "sort the rows")


def test_a_time_that_is_missing_is_refused(path, recording):
    frame = recording(6)
    frame.loc[2, "Time"] = np.nan
    refused(frame, path, "column 'Time'", "row 2", "not a finite time")


def test_time_may_start_anywhere(path, recording):
    frame = recording(4).assign(Time=np.array([1e9 + 0.1, 1e9 + 0.2, 1e9 + 0.3, 1e9 + 0.4]))
    assert np.array_equal(read(save(frame, path)).time, frame["Time"].to_numpy())


def test_dates_become_seconds(path, recording):
    frame = recording(4).assign(Time=pd.date_range("2024-05-01 10:00", periods=4, freq="500ms"))
    assert read(save(frame, path)).time.tolist() == [0.0, 0.5, 1.0, 1.5]
    frame.loc[2, "Time"] = pd.NaT
    refused(frame, path, "column 'Time'", "row 2", "not a finite time")


def test_text_that_is_no_time_is_refused(path, recording):
    refused(recording(3).assign(Time=["a", "b", "c"]), path, "column 'Time'", "row 0", "'a'")


def test_headers_with_spaces_and_a_byte_order_mark(tmp_path, recording):
    text = recording(3).to_csv(index=False).replace(",", ", ")
    (tmp_path / "r.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert len(read(tmp_path / "r.csv").target) == 3


def test_semicolons_are_named_as_the_cause(tmp_path, recording):
    (tmp_path / "r.csv").write_text(recording(3).to_csv(index=False, sep=";"))
    with pytest.raises(DataError, match="columns are not separated by commas"):
        read(tmp_path / "r.csv")


def test_blank_lines_hold_no_data_but_are_counted(tmp_path, recording):
    frame = recording(6)
    lines = frame.to_csv(index=False).splitlines()
    path = tmp_path / "r.csv"
    path.write_text("\n".join([*lines[:3], "", *lines[3:]]) + "\n\n\n")
    assert np.array_equal(read(path).target, frame["Voltage"].to_numpy(np.float32))
    frame.loc[4, "Voltage"] = np.nan
    lines = frame.to_csv(index=False).splitlines()
    path.write_text("\n".join([*lines[:3], "", *lines[3:]]))
    with pytest.raises(DataError, match=r"column 'Voltage', row 4 \(line 7 of the file\)"):
        read(path)


def test_old_line_ends(tmp_path, recording):
    path = tmp_path / "r.csv"
    path.write_bytes(recording(6).to_csv(index=False, lineterminator="\r").encode())
    assert len(read(path).target) == 6
    assert rows_at_most(path) >= 6


def test_rows_are_bounded_from_above(path, recording, tmp_path):
    save(recording(12), path)
    assert 12 <= rows_at_most(path) <= 14
    assert rows_at_most(tmp_path / "none.parquet") == 0
    (tmp_path / "no.parquet").write_text("x")
    assert rows_at_most(tmp_path / "no.parquet") == 0
