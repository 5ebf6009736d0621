import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.quantities import find_columns, number_doubled
from vestim_pl.data.formats.raw_table import FileOptions
from vestim_pl.errors import ConfigurationError, DataError

HEADERS = {
    "BDF labels": (["Test Time / s", "Voltage / V", "Current / A", "Surface Temperature / degC"], "0213"),
    "BDF machine names": (["test_time_second", "voltage_volt", "current_ampere", "unix_time_second"], "021"),
    "VEstim": (["Timestamp", "Voltage", "Current", "Temp", "SOC"], "02134"),
    "Digatron": (["Time Stamp", "Step", "Prog Time", "Step Time", "Voltage", "Current", "Temperature"], "2546"),
    "Arbin": (["Date_Time", "Test_Time(s)", "Step_Time(s)", "Current(A)", "Voltage(V)", "Charge_Capacity(Ah)"], "134"),
    "Arbin, new": (["Date Time", "Test Time (s)", "Step Time (s)", "Current (A)", "Voltage (V)"], "134"),
    "Maccor": (["Rec#", "Step", "Test (Sec)", "Step (Sec)", "Amps", "Volts", "State", "Temp 1"], "2457"),
    "Maccor, text": (["TestTime", "StepTime", "mAmp-hr", "mAmps", "Volts", "DPt Time"], "034"),
    "Neware": (["DataPoint", "Time", "Total Time", "Current(A)", "Voltage(V)", "Date"], "234"),
    "Neware, csv": (["Time", "Cumulative Time", "Current(A)", "Voltage(V)", "Date"], "123"),
    "Novonix": (
        ["Date and Time", "Run Time (h)", "Step Time (h)", "Current (A)", "Potential (V)", "Temperature (°C)"],
        "1345",
    ),
    "BioLogic": (["time/s", "Ecell/V", "<I>/mA", "Q charge/mA.h", "control/V/mA"], "021"),
    "BioLogic, Ewe": (["time/s", "control/V", "<Ewe>/V", "I/mA"], "032"),
    "Basytec": (["~Time[s]", "t-Step[s]", "Line", "U[V]", "I[A]", "T1[°C]"], "0435"),
    "PEC": (["Total Time (Seconds)", "Step Time (Seconds)", "Voltage (mV)", "Current (mA)"], "032"),
    "Landt": (["TestTime/Sec.", "StepTime/Sec.", "Current/mA", "Voltage/V"], "023"),
    "Battery Archive": (
        [
            "Date_Time",
            "Test_Time (s)",
            "Current (A)",
            "Voltage (V)",
            "Environment_Temperature (C)",
            "Cell_Temperature (C)",
        ],
        "1235",
    ),
    "NASA": (["Voltage_measured", "Current_measured", "Temperature_measured", "Time"], "3102"),
    "Oxford": (["t", "v", "q", "T"], "0?13"),
    "PyBaMM": (["Time [s]", "Current [A]", "Terminal voltage [V]", "X-averaged cell temperature [C]"], "0123"),
    "PyProBE": (["Time [s]", "Step", "Current [A]", "Voltage [V]", "Temperature [C]"], "0234"),
    "fastnda": (
        ["voltage_V", "current_mA", "unix_time_s", "step_time_s", "total_time_s", "aux1_temperature_degC"],
        "4105",
    ),
    "vehicle": (["Time [s]", "Battery Voltage [V]", "Battery Current [A]", "SoC [%]", "displayed SoC [%]"], "021?3"),
    "Panasonic": (["TimeStamp", "Voltage", "Current", "Ah", "Battery_Temp_degC", "Time", "Chamber_Temp_degC"], "5214"),
    "short": (["t (ms)", "U (mV)", "I (mA)", "T (K)", "SOC (%)"], "02134"),
    "CALCE, text": (["Time", "mV", "mA", "Temperature"], "0213"),
    "a vehicle": (["timestamp", "V_batt [V]", "I_batt [A]", "T_cell_degC", "SOC_%"], "02134"),
    "CALCE, Arbin": (["Test_Time(s)", "Current(A)", "Voltage(V)", "Temperature (C)_1"], "0123"),
    "Spanish": (["Tiempo (s)", "Corriente (A)", "Voltaje (V)", "Temperatura (°C)"], "0123"),
    "Italian": (["Tempo [s]", "Corrente [A]", "Tensione [V]", "Temperatura [°C]"], "0123"),
    "Japanese": (["時間(s)", "電流(A)", "電圧(V)", "温度(℃)"], "0123"),
    "Korean": (["시간(s)", "전류(A)", "전압(V)", "온도(℃)"], "0123"),
    "Chinese": (["测试时间", "时间", "电流(mA)", "电压(V)", "温度(℃)"], "0234"),
    "German": (["Zeit [s]", "Strom [A]", "Spannung [V]", "Temperatur [°C]"], "0123"),
}


@pytest.mark.parametrize("tester", HEADERS)
def test_the_columns_of_testers_are_found(tester):
    names, positions = HEADERS[tester]
    expected = {
        quantity: names[int(position)]
        for quantity, position in zip(("time", "current", "voltage", "temperature", "soc"), positions, strict=False)
        if position != "?"
    }
    found = find_columns(names, {}).columns
    assert {
        name: column for name, column in found.items() if name not in ("ah", "charge_ah", "discharge_ah", "state")
    } == expected


def test_what_is_called_as_the_settings_say_is_taken_before_known_names():
    found = find_columns(["Time", "TestTime", "Current", "I", "Voltage", "U", "Temp", "T1", "SOC"], {})
    assert found.columns == {
        "time": "Time",
        "current": "Current",
        "voltage": "Voltage",
        "temperature": "Temp",
        "soc": "SOC",
    }
    assert found.taken == {}
    assert find_columns(["t", "I", "U"], {}).taken == {"time": "t", "current": "I", "voltage": "U"}


def test_a_column_that_the_user_names_is_the_only_one_that_counts():
    columns = Columns(voltage="U2", time="Time [s]")
    assert find_columns(["Voltage", "U2", "Time", "Time [s]"], {}, columns).columns == {
        "time": "Time [s]",
        "voltage": "U2",
    }
    assert "voltage" not in find_columns(["Voltage", "Time [s]"], {}, columns).columns


def test_optional_columns_are_found_and_never_required():
    found = find_columns(["Ah", "Chg. Cap.(Ah)", "DChg. Cap.(Ah)", "Step Type"], {}).columns
    assert found == {"ah": "Ah", "charge_ah": "Chg. Cap.(Ah)", "discharge_ah": "DChg. Cap.(Ah)", "state": "Step Type"}


def test_the_unit_decides_who_can_be_meant():
    assert find_columns(["Voltage (A)", "U (V)"], {}).columns == {"voltage": "U (V)"}
    assert find_columns(["Test", "Time"], {"Time": "V", "Test": "s"}).columns["time"] == "Time"  # named by the settings
    assert find_columns(["T"], {"T": "[K]"}).columns == {"temperature": "T"}
    assert find_columns(["Current [kA]"], {}).columns == {}


def test_features_by_the_names_of_the_settings_are_the_found_columns():
    found = find_columns(["Time", "SoC [%]", "I", "U"], {})
    assert [found.resolve(name) for name in ("SOC", "Current", "Humidity")] == ["SoC [%]", "I", "Humidity"]


def refusal(names, quantities=("time", "current", "voltage", "temperature", "soc"), features=(), columns=None):
    with pytest.raises(DataError) as caught:
        find_columns(names, {}, columns, "r.csv").require(quantities, features)
    return str(caught.value)


def suggested(message: str) -> dict[str, object]:
    """The settings in a message, as a shell and then Hydra read them."""
    settings = re.findall(r"'data\.[^']*'|(?<![\w'.])data\.[\w.]+=[^\s',;]+", message)
    parsed = OverridesParser.create().parse_overrides([shlex.split(setting)[0] for setting in settings])
    return {override.key_or_group: OmegaConf.create({"value": override.value()}).value for override in parsed}


def test_all_missing_columns_are_in_one_line_with_a_proposal_each():
    message = refusal(["Time_of_test (h)", "Battery Volts", "CurrentSensor", "Note"])
    assert "\n" not in message
    assert "columns 'Time', 'Current', 'Voltage', 'Temp' and 'SOC' are missing among 'Time_of_test (h)'" in message
    assert suggested(message) == {
        "data.columns.time": "Time_of_test (h)",
        "data.columns.current": "CurrentSensor",
        "data.columns.voltage": "Battery Volts",
        "data.temperature": 25,
        "data.soc.capacity_ah": 3,
        "data.on_bad_file": "skip",
    }


@pytest.mark.parametrize(
    "name",
    [
        "Volt age",
        "Voltage (meas.) [V]",
        "Voltage=U",
        "Voltage#1",
        "Voltage, V",
        "Spannung Zelle ä",
        'Voltage "raw"',
        "Voltage ${x}",
        "Voltage\\",
        "Voltage: V",
        "{Voltage}",
        "  Voltage é/ü",
    ],
)
def test_a_proposal_is_parsed_back_as_the_very_name(name):
    (stripped,) = number_doubled([name])
    message = refusal([stripped], ["voltage"], columns=Columns(voltage="Voltage of cell 7"))
    if "'" not in stripped:
        assert suggested(message)["data.columns.voltage"] == stripped


def test_columns_among_which_nobody_can_choose_are_refused():
    message = refusal(["Time", "Current_measured", "Current_load", "Voltage"], ["time", "voltage", "current"])
    assert message.startswith("r.csv: the current may be 'Current_measured' or 'Current_load' among ")
    assert suggested(message)["data.columns.current"] == "Current_measured"
    assert "may be 'T1' or 'T2'" in refusal(["T1", "T2"], ["temperature"])


def test_a_step_time_is_no_time():
    assert "column 'Time' is missing" in refusal(["Step_Time(s)", "Current(A)", "Voltage(V)"], ["time"])


def test_a_feature_that_is_missing_is_named_with_the_nearest():
    message = refusal(["Time", "Voltage", "Humidty"], ["time", "voltage"], ["Humidity"])
    assert "column 'Humidity' is missing" in message
    assert "correct 'Humidity' in data.features (the nearest is 'Humidty')" in message


def test_a_file_of_many_columns_gets_a_short_message():
    assert len(refusal([f"signal {number}" for number in range(5000)])) < 1500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decimal": ";"}, r"data\.csv\.decimal: ';' is unknown"),
        ({"separator": "::"}, r"data\.csv\.separator: '::' is not one character"),
        ({"header_row": 0}, r"data\.csv\.header_row: 0 is not a line"),
        ({"date_order": "dmy"}, r"data\.date_order: 'dmy' is unknown; choose 'day_first' or 'month_first'"),
        ({"names": ["a"], "header_row": 3}, r"data\.csv\.header_row: .* set one only"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        FileOptions(**options)
