import numpy as np
import pandas as pd
import pytest

from vestim_pl.data import PreparationSettings, Units
from vestim_pl.data.preparation.preparing import prepare_file
from vestim_pl.errors import DataError

WRONG = {
    "sign": (lambda f: f.assign(Current=-f["Current"]), "the voltage falls where the current rises in 100 %",
             "data.current_sign=discharge_positive"),
    "per cent": (lambda f: f.assign(SOC=f["SOC"] * 100), "so it is in %", "data.units.soc=%"),
    "kelvin": (lambda f: f.assign(Temp=f["Temp"] + 273.15), "so it is in K", "data.units.temperature=K"),
    "milliseconds": (lambda f: f.assign(Time=f["Time"] * 1000), "rows are 1,000 s apart", "data.units.time=ms"),
    "hours": (lambda f: f.assign(Time=f["Time"] / 3600), "so time is in h", "data.units.time=h"),
    "millivolts": (lambda f: f.assign(Voltage=f["Voltage"] * 1000), "so it is in mV", "data.units.voltage=mV"),
    "milliamperes": (lambda f: f.assign(Current=f["Current"] * 1000), "so it is in mA", "data.units.current=mA"),
    "pack": (lambda f: f.assign(Voltage=f["Voltage"] * 96), "more than one cell has", "data.cells_in_series="),
    "irregular": (lambda f: f.assign(Time=np.cumsum(np.where(np.arange(len(f)) % 4, 1.0, 5.0))), "interval between "
    "rows varies",
                  "data.resample=1"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_each_fault_is_refused_in_one_line_with_the_setting_that_fixes_it(drive, fault):
    spoil, found, fix = WRONG[fault]
    with pytest.raises(DataError) as caught:
        prepare_file(spoil(drive()), PreparationSettings(), "a.csv")
    message = str(caught.value)
    assert message.startswith("a.csv: ")
    assert "\n" not in message
    assert found in message
    assert f"set {fix}" in message
    assert message.endswith("data.checks=warn")


@pytest.mark.parametrize("fault", WRONG)
def test_warn_accepts_with_a_warning_and_off_says_nothing(drive, fault):
    spoil, found, _ = WRONG[fault]
    warned = prepare_file(spoil(drive()), PreparationSettings(checks="warn"), "a.csv")
    assert any(found in warning for warning in warned.warnings)
    assert prepare_file(spoil(drive()), PreparationSettings(checks="off"), "a.csv").warnings == []


def test_nothing_is_said_about_what_is_right(drive):
    prepared = prepare_file(drive(), PreparationSettings(), "a.csv")
    assert (prepared.warnings, prepared.notes) == ([], [])


def test_all_faults_of_a_file_are_in_one_line_that_fixes_them_all(drive):
    frame = drive()
    frame = frame.assign(
        Time=frame["Time"] * 1000, Current=frame["Current"] * -1000, Voltage=frame["Voltage"] * 1000,
        Temp=frame["Temp"] + 273.15, SOC=frame["SOC"] * 100,
    )  # fmt: skip
    with pytest.raises(DataError) as caught:
        prepare_file(frame, PreparationSettings(), "a.csv")
    wanted = (
        "set data.units.time=ms data.units.soc=% data.units.voltage=mV data.units.temperature=K data.units.current=mA "
        "data.current_sign=discharge_positive"
    )
    assert wanted in str(caught.value)
    fixed = PreparationSettings(units=Units("ms", "mA", "mV", "K", "%"), current_sign="discharge_positive")
    prepare_file(frame, fixed, "a.csv")


def test_a_pack_is_accepted_once_it_is_declared(drive):
    frame = drive().assign(Voltage=drive()["Voltage"] * 96)
    assert prepare_file(frame, PreparationSettings(cells_in_series=96), "a").recordings[0].target.max() > 300
    with pytest.raises(DataError, match=r"more than 4 cells have"):
        prepare_file(frame, PreparationSettings(cells_in_series=4), "a")


def test_a_sign_that_was_turned_by_mistake_is_refused_too(drive):
    with pytest.raises(DataError, match=r"set data\.current_sign=charge_positive"):
        prepare_file(drive(), PreparationSettings(current_sign="discharge_positive"), "a.csv")


def test_a_depth_of_discharge_is_no_state_of_charge(drive):
    with pytest.raises(DataError, match=r"so it is a depth of discharge; set data\.units\.soc=DOD, "):
        prepare_file(drive().assign(SOC=1 - drive()["SOC"]), PreparationSettings(), "a.csv")
    percent = drive().assign(SOC=100 * (1 - drive()["SOC"]))
    with pytest.raises(DataError, match=r"set 'data\.units\.soc=\"DOD%\"'|set data\.units\.soc=DOD%, "):
        prepare_file(percent, PreparationSettings(), "a.csv")
    for unit, frame in (("DOD", drive().assign(SOC=1 - drive()["SOC"])), ("DOD%", percent)):
        (recording,) = prepare_file(frame, PreparationSettings(units=Units(soc=unit)), "a.csv").recordings
        np.testing.assert_allclose(recording.inputs[:, 0], drive()["SOC"], atol=1e-6)


def test_a_time_that_jumps_to_another_unit_is_refused(drive):
    frame = drive(100).assign(Time=np.r_[0.0, 1.0, 36000.0 * np.arange(2, 100)])
    with pytest.raises(DataError, match=r"the interval between rows jumps, from 1 s to 71,999 s"):
        prepare_file(frame, PreparationSettings(), "a.csv")


def test_a_rate_that_no_cell_bears_is_refused(drive):
    frame = drive().assign(Time=drive()["Time"] / 50)
    with pytest.raises(DataError, match=r"the current reaches .* C of the 0\.06 Ah that current and SOC imply"):
        prepare_file(frame, PreparationSettings(), "a.csv")


def test_an_uncertain_sign_is_a_warning(drive):
    random = np.random.default_rng(0)
    frame = drive().assign(Voltage=3.7 + 0.1 * random.normal(size=900), SOC=0.5)
    (warning,) = prepare_file(frame, PreparationSettings(), "a.csv").warnings
    assert "the sign of the current is uncertain" in warning


@pytest.mark.parametrize(
    ("interval", "factor", "start", "unit"),
    [
        (1.0, 1 / 86_400, 48_000.0, "d"),  # a spreadsheet's dates as numbers
        (10.0, 1 / 86_400, 0.0, "d"),
        (1.0, 1 / 3600, 0.0, "h"),
        (1.0, 1 / 60, 0.0, "min"),
        (10.0, 1 / 60, 0.0, "min"),
        (10.0, 1 / 3600, 0.0, "h"),
        (1.0, 1e9, 0.0, "ns"),
        (0.1, 1e6, 0.0, "us"),
        (60.0, 1e3, 0.0, "ms"),
        (0.1, 1e3, 1.9e12, "ms"),  # since 1970: 100 s between rows would be believable
    ],
)
def test_a_time_in_another_unit_is_refused_with_that_unit(drive, interval, factor, start, unit):
    right = drive(min(300, int(1200 / interval)), interval=interval)
    frame = right.assign(Time=start + right["Time"] * factor)
    with pytest.raises(DataError, match=rf"set data\.units\.time={unit}\b"):
        prepare_file(frame, PreparationSettings(), "a.csv")
    assert prepare_file(frame, PreparationSettings(units=Units(time=unit)), "a.csv").interval == pytest.approx(
        interval, rel=1e-3
    )


def test_seconds_that_look_like_minutes_can_be_kept(drive):
    frame = drive(300, interval=1 / 60)
    with pytest.raises(DataError, match=r"in min \(1 s\) or in h \(60 s\); set .* keep seconds with data.units.time=s"):
        prepare_file(frame, PreparationSettings(), "a.csv")
    assert prepare_file(frame, PreparationSettings(units=Units(time="s")), "a.csv").warnings == []


@pytest.mark.parametrize("interval", [0.01, 0.1, 0.0998, 0.25, 1.0, 60.15])
def test_intervals_of_loggers_are_believed(drive, interval):
    assert (
        prepare_file(drive(min(300, int(1200 / interval)), interval=interval), PreparationSettings(), "a.csv").warnings
        == []
    )


@pytest.mark.parametrize(
    "spoil", [lambda t: (t - 5) * 10, lambda t: (t + 273.15) * 10, lambda t: t.where(t.index != 5, 3276.7)]
)
def test_kelvin_is_suggested_only_where_it_gives_believable_temperatures(drive, spoil):
    with pytest.raises(DataError, match=r"degC, which no cell has; fix or remove these rows") as caught:
        prepare_file(drive().assign(Temp=spoil(drive()["Temp"])), PreparationSettings(), "a.csv")
    assert "=K" not in str(caught.value)


def test_fahrenheit_is_suspected_where_a_cell_would_be_hot(drive):
    frame = drive().assign(Temp=drive()["Temp"] * 1.8 + 32)
    (warning,) = prepare_file(frame, PreparationSettings(), "a.csv").warnings
    assert "data.units.temperature=degF" in warning
    for unit in ("degF", "degC"):
        assert prepare_file(frame, PreparationSettings(units=Units(temperature=unit)), "a.csv").warnings == []


def test_rows_without_voltage_are_refused(drive):
    frame = drive()
    frame.loc[50:59, "Voltage"] = frame.loc[70, "Voltage"] = 0.0
    with pytest.raises(DataError, match=r"the voltage drops to 0 V from one row to the next, 2 times; fix or remove"):
        prepare_file(frame, PreparationSettings(), "a.csv")


def test_a_cell_that_is_charged_from_zero_is_believed(drive):
    frame = drive().assign(Current=1.0, Voltage=4.0 * (1 - np.exp(-np.arange(900) / 20)), SOC=0.5)
    assert prepare_file(frame, PreparationSettings(), "a.csv").warnings == []


def test_a_normalised_voltage_is_refused(drive):
    voltage = drive()["Voltage"]
    frame = drive().assign(Voltage=(voltage - voltage.min()) / np.ptp(voltage))
    with pytest.raises(DataError, match=r"the voltage is from 0 to 1 V, less than a cell has, so it is normalised"):
        prepare_file(frame, PreparationSettings(), "a.csv")


def test_a_long_discharge_shows_the_sign_without_steps():
    time = np.arange(3000.0)
    frame = pd.DataFrame({"Time": time, "Current": 3.0, "Voltage": 4.0 - time / 3000, "Temp": 25.0, "SOC": 0.5})
    with pytest.raises(DataError, match=r"falls while the current charges.*set data\.current_sign=discharge_positive"):
        prepare_file(frame, PreparationSettings(), "a.csv")
    assert prepare_file(frame, PreparationSettings(current_sign="discharge_positive"), "a.csv").warnings == []
    assert prepare_file(frame.assign(Current=-3.0), PreparationSettings(), "a.csv").warnings == []


def test_a_fraction_that_is_called_per_cent_is_refused(drive):
    frame = drive().rename(columns={"SOC": "SoC [%]"})
    with pytest.raises(DataError, match=r"SOC is from 0\.00\d+ to 0\.009, .*set 'data\.units\.soc=\"1\"'"):
        prepare_file(frame, PreparationSettings(), "a.csv")
    assert prepare_file(frame, PreparationSettings(units=Units(soc="1")), "a.csv").warnings == []
    assert prepare_file(frame, PreparationSettings(units=Units(soc="%")), "a.csv").warnings == []


def test_a_current_without_sign_is_not_just_turned(drive):
    with pytest.raises(DataError, match=r"discharge_positive, unless the file has charges too"):
        prepare_file(drive().assign(Current=drive()["Current"].abs()), PreparationSettings(), "a.csv")


def test_a_voltage_that_does_not_move_is_a_warning(drive):
    (warning,) = prepare_file(drive().assign(Voltage=3.7), PreparationSettings(), "a.csv").warnings
    assert "the voltage is 3.7 V in all rows" in warning
