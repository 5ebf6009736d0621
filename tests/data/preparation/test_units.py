import numpy as np
import pytest

from vestim_pl.data.preparation.units import Units, converted
from vestim_pl.errors import ConfigurationError


@pytest.mark.parametrize(
    ("quantity", "unit", "value", "standard"),
    [
        ("time", "ms", 1500.0, 1.5), ("time", "min", 1.5, 90.0), ("time", "h", 0.5, 1800.0), ("current", "mA",
        -1500.0, -1.5),
        ("voltage", "mV", 3700.0, 3.7), ("temperature", "K", 298.15, 25.0), ("temperature", "degF", 77.0, 25.0),
        ("temperature", "degF", 14.0, -10.0), ("soc", "%", 90.0, 0.9), ("ah", "mAh", 2500.0, 2.5),
    ],
)  # fmt: skip
def test_conversions(quantity, unit, value, standard):
    assert converted(np.array([value]), quantity, unit) == pytest.approx([standard])


def test_standard_values_are_not_copied():
    values = np.array([1.0], dtype=np.float32)
    assert converted(values, "current", "A") is values


def test_an_unknown_unit_is_refused():
    with pytest.raises(ConfigurationError, match=r"data\.units\.current: 'kA' is unknown; choose 'auto', 'A'"):
        Units(current="kA")
    with pytest.raises(ConfigurationError, match=r"data\.units\.soc: 2 is unknown"):
        Units(soc=2)
    assert Units(soc=1).soc == "1"
