import pytest

from vestim_pl.data.preparation.temperature import check_temperature, named_temperature, with_temperature
from vestim_pl.errors import ConfigurationError, DataError


@pytest.mark.parametrize(
    ("name", "degrees"),
    [
        ("train/lg-hg2_mixed1_n10degC.parquet", -10.0), ("551_25degC_HWFET.csv", 25.0), ("n20degC/LA92.mat", -20.0),
        ("0degC_UDDS.csv", 0.0), ("lghg2_40C_562_Mixed4.csv", 40.0), ("25 degC/US06.csv", 25.0),
        ("minus5degC.csv", -5.0), ("-5degC.csv", -5.0), ("22.5_degC.csv", 22.5), ("40degC/us06_25degC.csv", 25.0),
        ("leaf_1C.csv", None), ("CS2_35_1_10_11.xlsx", None), ("C20.csv", None), ("25Cell.csv", None),
    ],
)  # fmt: skip
def test_names_of_files_as_they_are(name, degrees):
    assert named_temperature(name) == degrees


def test_an_own_pattern():
    assert named_temperature("run_T-15_x.csv", r"T(?P<temperature>-?\d+)") == -15.0


def test_it_fills_what_is_missing_and_nothing_else(table):
    missing, there = table(current=[1.0, 2.0]), table(temperature=[20.0, 21.0])
    assert with_temperature(missing, 25, "a.csv")[0]["temperature"].tolist() == [25.0, 25.0]
    assert with_temperature(missing, "name", "n10degC/a.csv")[0]["temperature"].tolist() == [-10.0, -10.0]
    assert with_temperature(there, 25, "a.csv") == (there, [])
    assert with_temperature(missing, None, "a.csv") == (missing, [])


def test_a_name_without_a_temperature_is_refused(table):
    with pytest.raises(DataError, match=r"a\.csv: has no column of temperature, .* names none; set a constant"):
        with_temperature(table(current=[1.0]), "name", "a.csv")


@pytest.mark.parametrize("pattern", ["(", r"\d+degC"])
def test_a_pattern_that_cannot_be_used_is_refused(pattern):
    with pytest.raises(ConfigurationError, match=r"data\.temperature: .* is no regular|has no group named temperature"):
        check_temperature(pattern)
