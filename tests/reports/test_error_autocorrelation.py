import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter

from vestim_pl.reports.error_autocorrelation import decay_time, error_autocorrelation


def table(name, error, interval=1.0):
    return pd.DataFrame(
        {"recording": name, "time": interval * np.arange(len(error)), "measured": 3.7, "estimated": 3.7 + error}
    )


def test_an_autoregressive_error_has_its_known_autocorrelation_and_decay_time():
    noise = np.random.default_rng(0).normal(0, 1e-3, 200_000)
    lags = error_autocorrelation(table("a", lfilter([1.0], [1.0, -0.9], noise), interval=0.5))
    found = lags.set_index("lag")["autocorrelation"]
    for steps in (1, 2, 5, 10, 20):
        assert found[0.5 * steps] == pytest.approx(0.9**steps, abs=0.02)
    assert decay_time(lags) == pytest.approx(0.5 / np.log(1 / 0.9), rel=0.05)


def test_no_pair_spans_two_recordings():
    lags = error_autocorrelation(pd.concat([table("b", np.ones(8)), table("a", -np.ones(12))], ignore_index=True))
    assert lags["pairs"].tolist() == [7 + 11, 6 + 10, 5 + 9]
    assert lags["autocorrelation"].tolist() == pytest.approx([1.0] * 3, abs=0.15)
    assert decay_time(lags) is None


def test_a_non_finite_error_is_in_no_pair():
    error = np.random.default_rng(1).normal(0, 1e-3, 400)
    broken = error.copy()
    broken[10] = np.nan
    lags = error_autocorrelation(table("a", broken))
    assert lags["pairs"].iloc[0] == 399 - 2
    assert lags["autocorrelation"].to_numpy() == pytest.approx(
        error_autocorrelation(table("a", error))["autocorrelation"].to_numpy(), abs=0.05
    )


@pytest.mark.parametrize("error", [np.zeros(9), np.full(9, np.nan), np.zeros(0)])
def test_without_a_variance_there_is_none(error):
    assert error_autocorrelation(table("a", error)).empty
