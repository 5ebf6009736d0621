"""Real files of testers, and small ones that each stand for a kind, where the folder beside the checkout has them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.quantities import find_columns
from vestim_pl.data.formats.reading import read_table
from vestim_pl.data.formats.times import seconds
from vestim_pl.data.formats.units import unit_of
from vestim_pl.errors import DataError

SHARED = Path(__file__).parents[4] / "shared"
KINDS, TESTERS, LG = SHARED / "cases" / "files", SHARED / "data" / "tester-files", SHARED / "data" / "lg-hg2"

# file: rows, column of time, current, voltage, temperature, SOC; None where it is not looked at
READ = {
    KINDS / "01_digatron_preamble.csv": (57, "Prog Time", "Current", "Voltage", "Temperature", None),
    KINDS / "02_semicolon_latin1.csv": (80, "Time [s]", "Battery Current [A]", "Battery Voltage [V]", None, "SoC [%]"),
    KINDS / "03_decimal_comma.csv": (70, "Zeit [s]", "Strom [A]", "Spannung [V]", "Temperatur [°C]", "SOC [1]"),
    KINDS / "04_bdf_labels.bdf.csv": (
        70,
        "Test Time / s",
        "Current / A",
        "Voltage / V",
        "Surface Temperature / degC",
        None,
    ),
    KINDS / "07_maccor_tabs.txt": (59, "TestTime", "mAmps", "Volts", "Temp 1", None),
    KINDS / "09_neware_clock_time.csv": (30, "Cumulative Time", "Current(A)", "Voltage(V)", None, None),
    KINDS / "13_units_in_header.csv": (70, "t (ms)", "I (mA)", "U (mV)", "T (K)", "SOC (%)"),
    KINDS / "19_neware_three_level_header.csv": (70, "Total Time", "Current(A)", "Voltage(V)", "T1(℃)", None),
    TESTERS / "bmwi3_TripA04.csv": (4124, "Time [s]", "Battery Current [A]", "Battery Voltage [V]", None, "SoC [%]"),
    TESTERS / "calce_CS2_35_1_10_11.xlsx": (12695, "Test_Time(s)", "Current(A)", "Voltage(V)", None, None),
    TESTERS / "cellpy_batmo_bdf.csv": (21206, "Test Time / h", "Current / A", "Voltage / V", None, None),
    TESTERS / "cellpy_ife.ndax": (252951, "total_time_s", "current_mA", "voltage_V", "aux1_temperature_degC", None),
    TESTERS / "cellpy_maccor_three.txt": (4009, "TestTime", "mAmps", "Volts", None, None),
    TESTERS / "cellpy_neware_uio.csv": (9065, "Cumulative Time", "Current(A)", "Voltage(V)", None, None),
    TESTERS / "lghg2_40C_562_Mixed4.csv": (11327, "Prog Time", "Current", "Voltage", "Temperature", None),
    TESTERS / "pyprobe_LGM50_RPT0_biologic.parquet": (81661, "Time [s]", "Current [A]", "Voltage [V]", None, None),
    TESTERS / "pyprobe_Sample_data_biologic_01_MB_CA1.txt": (1397, "time/s", "I/mA", "Ecell/V", None, None),
    TESTERS / "pyprobe_sample_data_basytec.txt": (74, "Time[s]", "I[A]", "U[V]", None, None),
    TESTERS / "pyprobe_sample_data_novonix.csv": (207, "Run Time (h)", "Current (A)", "Potential (V)", None, None),
    TESTERS / "rovi_arbin_example.csv": (2142, "Test_Time", "Current", "Voltage", "Temperature", None),
    TESTERS / "vestim_tesla_HWCUST1.csv": (9342, "Timestamp", "Current", "Voltage", "Temp", "SOC"),
    TESTERS / "vestim_tesla_drive.mat": (9342, "Time", "Current", "Voltage", "Battery_Temp_degC", "SOC"),
}
REFUSED = {
    KINDS / "21_no_header.csv": "'data.csv.names=[Time,Current,Voltage,Temp]'",
    TESTERS / "leaf_bitrode_1C.csv": "name all of them in their order",
    TESTERS / "simulink_megane_WLTC.mat": "has no struct or variables",
}


def needs(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"{path.name} is not in the folder of shared data beside the checkout")


@pytest.mark.parametrize("path", READ, ids=lambda path: path.name)
def test_a_real_file_is_read_as_it_came(path):
    needs(path)
    rows, *expected = READ[path]
    table = read_table(path, path.name, wanted=Columns())
    found = find_columns(table.names, table.units, label=path.name)
    assert len(table.frame) == rows
    for quantity, column in zip(("time", "current", "voltage", "temperature", "soc"), expected, strict=True):
        assert column is None or found.columns[quantity] == column
    time = seconds(table.frame[expected[0]], path.name, expected[0], unit_of(expected[0], table.units))
    assert np.isfinite(time).all()
    for column in expected[1:3]:
        assert np.isfinite(table.frame[column].to_numpy(np.float64)).all()


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.name)
def test_a_real_file_without_names_or_table_is_refused_with_what_to_do(path):
    needs(path)
    with pytest.raises(DataError) as caught:
        read_table(path, path.name)
    assert REFUSED[path] in str(caught.value)


def test_one_drive_in_two_formats_is_the_same(tmp_path):
    needs(TESTERS)
    text, matlab = (read_table(TESTERS / name).frame for name in ("vestim_tesla_HWCUST1.csv", "vestim_tesla_drive.mat"))
    for one, other in {"Timestamp": "Time", "Voltage": "Voltage", "Current": "Current", "SOC": "SOC"}.items():
        np.testing.assert_allclose(text[one], matlab[other], rtol=0, atol=1e-9)


def test_parquet_is_read_as_pandas_reads_it():
    path = LG / "orig-10hz" / "lg-hg2_us06_25degC_orig.parquet"
    needs(path)
    plain = pd.read_parquet(path)
    for column, values in read_table(path, wanted=Columns()).frame.items():
        pd.testing.assert_series_equal(values, plain[column])
