import pytest

from vestim_pl.data.formats.units import KINDS, Unit, parse_unit, split_unit, unit_of, units_of_names


@pytest.mark.parametrize(
    ("spellings", "unit"),
    [
        (("s", "S", "Sec", "[s]", "(seconds)", "second"), "s"),
        (("ms", "millisecond"), "ms"),
        (("ns", "nanoseconds"), "ns"),
        (("min", "minutes"), "min"),
        (("h", "hr", "Hours"), "h"),
        (("d", "days"), "d"),
        (("A", "amps", "ampere"), "A"),
        (("mA", "milliampere"), "mA"),
        (("V", "volt", "Volts"), "V"),
        (("mV",), "mV"),
        (("C", "°C", "º C", "℃", "degC", "deg C", "Celsius", "\ufffdC", "Â°C", "¡æ", "?C"), "degC"),
        (("K", "Kelvin"), "K"),
        (("F", "°F", "degF"), "degF"),
        (("%", "percent"), "%"),
        (("1",), "1"),
        (("Ah", "A.h", "Amp-hr"), "Ah"),
        (("mAh", "mA.h"), "mAh"),
    ],
)
def test_a_unit_is_read_however_it_is_spelt(spellings, unit):
    assert {spelling: parse_unit(spelling) for spelling in spellings} == dict.fromkeys(spellings, Unit(unit))


@pytest.mark.parametrize("text", ["", "kA", "W", "Wh", "measured", "kV", "mC", "rpm"])
def test_what_is_none_of_our_units_is_none(text):
    assert parse_unit(text) is None


@pytest.mark.parametrize(
    ("name", "base", "unit"),
    [
        ("Test_Time(s)", "Test_Time", "s"),
        ("Test (Sec)", "Test", "Sec"),
        ("Temperature [°C]", "Temperature", "°C"),
        ("Temperature (C)_1", "Temperature_1", "C"),  # Arbin's, in CALCE's data
        ("max. SoC [%)", "max. SoC", "%"),
        ("Current [kA]", "Current", "kA"),
        ("Test Time / h", "Test Time", "h"),
        ("time/s", "time", "s"),
        ("(Q-Qo)/mA.h", "(Q-Qo)", "mA.h"),
        ("<I>/mA", "<I>", "mA"),
        ("TestTime/Sec.", "TestTime", "Sec."),
        ("test_time_millisecond", "test_time", "millisecond"),
        ("Battery_Temp_degC", "Battery_Temp", "degC"),
        ("SOC_%", "SOC", "%"),
        ("mAmps", "mAmps", "mAmps"),
        ("mV", "mV", "mV"),
        ("Volts", "Volts", ""),
        ("Time(h:min:s.ms)", "Time", ""),
        ("Date(yyyy-mm-dd hh:mm:ss)", "Date", ""),
        ("Voltage (measured)", "Voltage (measured)", ""),
        ("Current_load", "Current_load", ""),
        ("Temp_1", "Temp_1", ""),
        ("Voltage", "Voltage", ""),
    ],
)
def test_a_name_is_split_into_quantity_and_unit(name, base, unit):
    assert split_unit(name) == (base, unit)


def test_a_unit_that_is_not_ours_is_kept_as_written_but_not_parsed():
    units = units_of_names(["Current [kA]", "U [mV]", "Temp"])
    assert units == {"Current [kA]": "kA", "U [mV]": "mV"}
    assert [unit_of(name, units) for name in ("Current [kA]", "U [mV]", "Temp")] == [None, Unit.MILLIVOLT, None]


def test_every_unit_belongs_to_one_quantity():
    of_settings = [KINDS[name] for name in ("time", "current", "voltage", "temperature", "soc", "ah")]
    assert sorted(unit for units in of_settings for unit in units) == sorted(Unit)
