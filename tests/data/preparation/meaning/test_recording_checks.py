import numpy as np
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
    with pytest.raises(DataError, match=r"so it is a depth of discharge; name another column of SOC"):
        prepare_file(drive().assign(SOC=1 - drive()["SOC"]), PreparationSettings(), "a.csv")


def test_a_time_that_jumps_to_another_unit_is_refused(drive):
    frame = drive(100).assign(Time=np.r_[0.0, 1.0, 36000.0 * np.arange(2, 100)])
    with pytest.raises(DataError, match=r"the interval between rows jumps, from 1 s to 71,999 s"):
        prepare_file(frame, PreparationSettings(), "a.csv")


def test_a_rate_that_no_cell_bears_is_refused(drive):
    frame = drive().assign(Time=drive()["Time"] / 60)
    with pytest.raises(DataError, match=r"the current reaches .* C of the 0\.05 Ah that current and SOC imply"):
        prepare_file(frame, PreparationSettings(), "a.csv")


def test_an_uncertain_sign_is_a_warning(drive):
    random = np.random.default_rng(0)
    frame = drive().assign(Voltage=3.7 + 0.1 * random.normal(size=900), SOC=0.5)
    (warning,) = prepare_file(frame, PreparationSettings(), "a.csv").warnings
    assert "the sign of the current is uncertain" in warning
