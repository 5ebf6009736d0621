import decimal

import numpy as np
import pandas as pd
import pytest

from vestim_pl.data import Columns, PreparationSettings, SocSource, Units
from vestim_pl.data.preparation.preparing import first_date, prepare_file, prepare_recording
from vestim_pl.errors import DataError


def save(frame, path):
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path, index=False)
    return path


def one(source, settings=None, **options):
    (recording,) = prepare_recording(source, settings or PreparationSettings(), **options)
    return recording


def refused(frame, path, *parts, **settings):
    """The file is refused in one line that begins with its name and has all these parts."""
    with pytest.raises(DataError) as caught:
        prepare_recording(save(frame, path), PreparationSettings(**settings), path.name, voltage=True)
    message = str(caught.value)
    assert message.startswith(f"{path.name}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message, message


@pytest.fixture(params=["r.parquet", "r.csv"])
def path(tmp_path, request):
    return tmp_path / request.param


def test_inputs_target_and_time_are_those_of_the_file(path, drive):
    frame = drive(50)
    got = one(save(frame, path))
    assert np.array_equal(got.inputs, frame[["SOC", "Current", "Temp"]].to_numpy(np.float32))
    assert np.array_equal(got.target, frame["Voltage"].to_numpy(np.float32))
    assert np.array_equal(got.time, frame["Time"].to_numpy())
    assert got.source_rows.tolist() == list(range(50))
    assert (got.inputs.dtype, got.target.dtype, got.time.dtype) == (np.float32, np.float32, np.float64)
    assert (got.interval, got.notes) == (1.0, ())


def test_columns_may_have_any_names_and_features_any_order(path, drive):
    frame = drive(9).rename(columns={"Voltage": "U [V]", "Time": "t"}).assign(Humidity=np.arange(9), Note="x")
    settings = PreparationSettings(columns=Columns(voltage="U [V]", time="t"), features=("Humidity", "Current"))
    assert np.array_equal(one(save(frame, path), settings).inputs, frame[["Humidity", "Current"]].to_numpy(np.float32))


def test_a_table_needs_no_voltage_to_be_predicted(drive):
    frame = drive(20).drop(columns="Voltage")
    assert one(frame).target is None
    with pytest.raises(DataError, match=r"column 'Voltage' is missing"):
        prepare_recording(frame, PreparationSettings(), voltage=True)


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN or missing"), (np.inf, "is Inf"), (-np.inf, "is -Inf")])
def test_what_is_not_finite_is_refused_with_its_row(path, drive, value, name):
    frame = drive(9)
    frame.loc[[4, 7], "Voltage"] = value
    row = "row 4 (line 6 of the file)" if path.suffix == ".csv" else "row 4 (counted from 0)"
    refused(frame, path, "column 'Voltage'", row, name, "2 such of 9 rows", "data.on_bad_file=skip")


def test_what_is_no_number_is_refused_with_its_row(path, drive):
    frame = drive(8).astype({"Current": object})
    frame["Current"] = frame["Current"].astype(str)
    frame.loc[3, "Current"] = "n/k"
    refused(frame, path, "column 'Current'", "row 3", "'n/k'", "correct it")


def test_what_single_precision_cannot_hold_is_refused(path, drive):
    frame = drive(4)
    frame.loc[2, "Current"] = 1e39
    refused(frame, path, "column 'Current'", "row 2", "1e+39, beyond single precision")


def test_dates_are_no_feature(tmp_path, drive):
    frame = drive(3).assign(Temp=pd.date_range("2024-01-01", periods=3, freq="s"))
    refused(frame, tmp_path / "r.parquet", "column 'Temp' has dates")


def test_a_missing_time_and_no_rows_are_refused(path, drive):
    frame = drive(6)
    frame.loc[2, "Time"] = np.nan
    refused(frame, path, "column 'Time'", "row 2", "not a finite time")
    refused(drive(6).iloc[:0], path, "has no rows")


def test_integers_decimals_and_missing_values_of_unused_columns_are_fine(tmp_path, drive):
    frame = drive(5).astype({"Temp": int}).assign(Voltage=[decimal.Decimal("3.5")] * 5, Unused=np.nan)
    got = one(save(frame, tmp_path / "r.parquet"))
    assert got.inputs[:, 2].tolist() == [25.0] * 5
    assert got.target.tolist() == [3.5] * 5


def test_a_gap_makes_two_recordings(path, drive):
    frame = drive(60)
    frame.loc[40:, "Time"] += 3600
    parts = prepare_recording(save(frame, path), PreparationSettings(), "cold/r.csv")
    assert [(part.name, len(part.time)) for part in parts] == [("cold/r", 40), ("cold/r.part2", 20)]
    assert parts[1].source_rows.tolist() == list(range(40, 60))
    assert parts[0].notes == ("time: cut into two recordings where a gap is longer than ten intervals",)


def test_every_form_of_one_recording_gives_the_same_tensor(tmp_path, drive):
    frame = drive(600)
    other = pd.DataFrame(
        {
            "t (ms)": frame["Time"] * 1000,
            "I / mA": frame["Current"] * 1000,
            "U [mV]": frame["Voltage"] * 1000,
            "T (K)": frame["Temp"] + 273.15,
            "SoC [%]": frame["SOC"] * 100,
        }
    )
    bare = other.set_axis(["Time", "Current", "Voltage", "Temp", "SOC"], axis=1).assign(Current=-other["I / mA"])
    set_by_hand = PreparationSettings(units=Units("ms", "mA", "mV", "K", "%"), current_sign="discharge_positive")
    plain = one(save(frame, tmp_path / "a.parquet"))
    for got in (one(save(other, tmp_path / "b.csv")), one(save(bare, tmp_path / "c.parquet"), set_by_hand)):
        assert got.inputs == pytest.approx(plain.inputs, rel=1e-6, abs=1e-5)
        assert got.target == pytest.approx(plain.target, rel=1e-6)
        assert got.time == pytest.approx(plain.time)


def test_what_was_taken_is_noted(drive):
    frame = drive(20).rename(columns={"Current": "I (mA)"})
    notes = prepare_file(frame, PreparationSettings(), "r").notes
    assert "current 'I (mA)'" in notes[0].text
    assert "'I (mA)' is in mA as the file says, converted to A" in notes[1].text


def test_an_unknown_unit_is_refused(drive):
    with pytest.raises(
        DataError, match=r"'kV', which is no known unit .*convert the column to V, or set data\.units\.voltage to"
    ):
        prepare_recording(
            drive(20).rename(columns={"Voltage": "U [kV]"}), PreparationSettings(columns=Columns(voltage="U [kV]"))
        )


def test_a_checkpoint_in_other_units_than_the_file_says_is_refused(drive):
    trained = PreparationSettings(units=Units(current="mA"), interval=1.0)
    used = PreparationSettings.of_estimator({"features": ["SOC", "Current", "Temp"], "preparation": trained.to_dict()})
    with pytest.raises(DataError, match=r"is in A as the file says, but .*choose data\.units\.current=A or"):
        prepare_recording(drive(20).rename(columns={"Current": "Current [A]"}), used)
    bare = one(drive(20).assign(Current=drive(20)["Current"] * 1000), used)
    assert bare.inputs[:, 1] == pytest.approx(drive(20)["Current"].to_numpy(), rel=1e-5, abs=1e-6)


def test_another_interval_than_the_checkpoint_was_trained_with_is_refused(drive):
    used = PreparationSettings(interval=1.0)
    with pytest.raises(DataError, match=r"r: rows are 0\.1 s apart, .* trained with 1 s; set data\.resample=1"):
        prepare_recording(drive(600, interval=0.1), used, "r")
    assert len(one(drive(600, interval=0.1), PreparationSettings(interval=1.0, resample=1.0)).time) == 60


def test_a_file_that_lacks_columns_is_told_everything_in_one_line(drive):
    frame = drive().drop(columns=["SOC", "Temp"]).assign(Current=-drive()["Current"])
    with pytest.raises(DataError) as caught:
        prepare_recording(frame, PreparationSettings(), "r")
    for part in ("data.temperature=25", "data.soc.capacity_ah=3", "data.current_sign=discharge_positive"):
        assert part in str(caught.value)


def test_the_advice_for_a_counted_soc_works(drive):
    frame = drive(7200).drop(columns="SOC").assign(Current=2.0, Voltage=np.linspace(3.2, 4.1, 7200))
    with pytest.raises(DataError, match=r"data\.soc\.capacity_ah=4\.1 data\.soc\.initial=0\.024"):
        prepare_recording(frame, PreparationSettings(checks="refuse"), "r")
    settings = PreparationSettings(soc=SocSource(capacity_ah=4.1, initial=0.024))
    assert one(frame, settings).inputs[-1, 0] == pytest.approx(1.0, abs=0.001)


def test_steps_can_be_left_out(drive):
    frame = drive(30)
    frame.loc[20, "Time"] = 19.0
    assert len(one(frame).time) == 29
    with pytest.raises(DataError, match=r"time does not increase in 1 rows; let data\.prepare have twin_times"):
        prepare_recording(frame, PreparationSettings(prepare=("resample",)), "r")
    with pytest.raises(DataError, match=r"does not increase"):
        prepare_recording(frame, PreparationSettings(twin_times=False), "r")


def test_the_first_date_of_a_file(tmp_path, drive):
    dated = drive(3).assign(Time=pd.date_range("2031-03-05", periods=3, freq="s"))
    assert first_date(save(dated, tmp_path / "a.parquet"), PreparationSettings()).isoformat() == "2031-03-05"
    assert first_date(save(dated, tmp_path / "a.csv"), PreparationSettings()).isoformat() == "2031-03-05"
    assert first_date(save(drive(3), tmp_path / "b.parquet"), PreparationSettings()) is None
