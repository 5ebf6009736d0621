import pytest

from vestim_pl.data import StreamSampling
from vestim_pl.errors import ConfigurationError


@pytest.mark.parametrize(
    ("setting", "value"), [("lookback", 0), ("lanes", 0), ("burn_in", -1), ("evaluation_chunk", 0)]
)
def test_a_number_out_of_its_range_is_named(setting, value):
    with pytest.raises(ConfigurationError, match=rf"sampling\.{setting}: {value} is too small"):
        StreamSampling(**{setting: value})


def test_the_fewest_rows_that_are_of_use():
    assert StreamSampling(lookback=9, burn_in=4).minimum_rows == 5
    assert StreamSampling(lookback=9, burn_in=4).minimum_reason == "sampling.burn_in=4"
    windows = StreamSampling(lookback=9, burn_in=4, evaluation="windows")
    assert (windows.minimum_rows, windows.minimum_reason) == (9, "sampling.lookback=9")
