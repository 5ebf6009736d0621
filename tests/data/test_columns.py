import pytest

from vestim_pl.data import Columns
from vestim_pl.errors import ConfigurationError


def test_features_follow_the_names():
    assert Columns(soc="S", current="I", temperature="T").features == ("S", "I", "T")


def test_two_quantities_need_two_columns():
    with pytest.raises(
        ConfigurationError, match=r"data\.columns\.voltage: 'Current' is already data\.columns\.current"
    ):
        Columns(voltage="Current")


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_column_has_a_name(name):
    with pytest.raises(ConfigurationError, match=r"data\.columns\.time: .* is not a column name"):
        Columns(time=name)


def test_the_setting_of_a_column_is_named():
    assert Columns().setting_of("SOC") == "data.columns.soc"
    assert Columns().setting_of("Humidity") == "data.features"
