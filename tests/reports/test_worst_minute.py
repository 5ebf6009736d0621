import math

import numpy as np
import pytest

from vestim_pl.reports.worst_minute import worst_minute


def test_it_is_the_window_of_a_minute_with_the_highest_rmse():
    generator = np.random.default_rng(0)
    time = np.cumsum(generator.uniform(0.5, 3.0, 400))
    error = generator.normal(0, 5, 400)
    found = worst_minute(time, error)
    by_hand = {
        start: math.sqrt((error[(time >= start) & (time < start + 60.0)] ** 2).mean())
        for start in time
        if start + 60.0 <= time[-1]
    }
    assert found.start == max(by_hand, key=by_hand.__getitem__)
    assert found.rmse_mv == pytest.approx(max(by_hand.values()))
    assert found.end - found.start < 60.0


def test_a_short_recording_is_its_own_worst_minute():
    assert worst_minute(np.arange(5.0), np.array([1.0, 1, 1, 1, 1])) == (0.0, 4.0, 1.0)
    assert worst_minute(np.array([7.0]), np.array([2.0])) == (7.0, 7.0, 2.0)


def test_a_non_finite_estimate_is_worse_than_any_error():
    error = np.full(300, 1.0)
    error[10], error[200] = 1e6, np.nan
    found = worst_minute(np.arange(300.0), error)
    assert (found.start, found.end) == (200.0, 259.0)
    assert math.isnan(found.rmse_mv)
