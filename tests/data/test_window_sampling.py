import pytest

from vestim_pl.data import WindowSampling
from vestim_pl.errors import ConfigurationError


@pytest.mark.parametrize(
    ("setting", "value"), [("lookback", 0), ("stride", 0), ("horizon", -1), ("batch_size", 0), ("burn_in", -1)]
)
def test_a_number_out_of_its_range_is_named(setting, value):
    with pytest.raises(ConfigurationError, match=rf"sampling\.{setting}: {value} is too small"):
        WindowSampling(**{setting: value})


def test_an_unknown_evaluation_is_named():
    with pytest.raises(ConfigurationError, match=r"sampling\.evaluation: 'stream' is unknown; .*nearest: 'streams'"):
        WindowSampling(evaluation="stream")


@pytest.mark.parametrize(
    ("settings", "rows", "reason"),
    [
        ({"lookback": 9}, 9, "sampling.lookback=9"),
        ({"lookback": 9, "horizon": 2}, 11, "sampling.lookback=9 and horizon 2"),
        ({"lookback": 9, "burn_in": 20}, 21, "sampling.lookback=9 with burn_in 20"),
        ({"lookback": 9, "burn_in": 0}, 9, "sampling.lookback=9 with burn_in 0"),
    ],
)
def test_the_fewest_rows_that_are_of_use(settings, rows, reason):
    sampling = WindowSampling(**settings)
    assert (sampling.minimum_rows, sampling.minimum_reason) == (rows, reason)
