import math

import pytest

from vestim_pl.callbacks.gradients.epoch_norms import EpochNorms

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_non_finite_norm_is_counted_separately(bad):
    norms = EpochNorms()
    norms.observe(1.0, 1.0)
    norms.observe(bad, bad)
    norms.observe(3.0, 2.0)
    expected = {"non_finite": 1.0, "clip_fraction": 0.5, "median": 2.0, "p90": 2.8, "p99": 2.98}
    assert norms.summary() == pytest.approx(expected)


def test_a_step_without_an_update_counts_for_the_norm_but_not_for_clipping():
    norms = EpochNorms()
    norms.observe(3.0, None)
    assert norms.before == [3.0]
    assert math.isnan(norms.clip_fraction)
    assert "clip_fraction" not in norms.summary()


def test_rounding_is_not_clipping():
    norms = EpochNorms()
    norms.observe(1.0, 1.0 - 1e-7)
    assert norms.clipped == 0


def test_percentiles_are_nan_without_a_finite_norm_and_absent_without_any():
    norms = EpochNorms()
    assert norms.summary() == {"non_finite": 0.0}
    norms.observe(NAN, None)
    summary = norms.summary()
    assert summary["non_finite"] == 1.0
    assert all(math.isnan(summary[name]) for name in ("median", "p90", "p99"))
