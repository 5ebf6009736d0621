import math

import pytest

from vestim_pl.diagnosis.checks.learning_rate import RangeTest, check_learning_rate

RATES = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
SWEEP = RangeTest(RATES, [1.0, 0.99, 0.95, 0.6, 0.5, 4.0], update_ratio=0.02)


def test_the_sweep_names_the_steepest_fall_and_the_blow_up():
    assert SWEEP.steepest == 1e-3  # its update took 0.95 to 0.6
    assert SWEEP.unstable == 1e-1


@pytest.mark.parametrize(
    ("rate", "severity", "override"),
    [
        (0.1, "error", "optimizer.lr=5e-05"),
        (0.04, "warning", "optimizer.lr=5e-05"),
        (1e-3, "ok", ""),
        (5e-6, "ok", ""),
        (1e-6, "warning", "optimizer.lr=5e-05"),
    ],
)
def test_the_rate_is_placed_on_the_sweep(rate, severity, override):
    finding = check_learning_rate(SWEEP, rate)
    assert (finding.severity, finding.override) == (severity, override)
    assert f"optimizer.lr is {rate:g}; in a range test the loss falls fastest at 0.001 and blows up at 0.1" in (
        finding.evidence
    )
    assert "moves the weights by 2 % of their norm" in finding.evidence


def test_what_falls_after_the_blow_up_is_not_the_steepest():
    sweep = RangeTest(RATES, [1.0, 0.99, 0.9, 0.85, 1.7, 0.3])
    assert sweep.unstable == 1e-2
    assert sweep.steepest == 1e-4


def test_the_distance_to_a_safe_rate_is_reported():
    assert "50 times below a safe 5e-05" in check_learning_rate(SWEEP, 1e-6).evidence


def test_a_sweep_to_nan_counts_as_blown_up():
    assert RangeTest(RATES[:3], [1.0, 0.9, math.nan]).unstable == 1e-4


def test_a_sweep_that_never_blows_up_says_how_far_it_went():
    finding = check_learning_rate(RangeTest(RATES, [1.0, 0.9, 0.8, 0.7, 0.5, 0.4]), 1e-3)
    assert finding.severity == "ok"
    assert "blows up at no rate up to 1" in finding.evidence


def test_a_loss_that_never_falls_is_a_warning():
    finding = check_learning_rate(RangeTest(RATES, [1.0] * 6), 1e-3)
    assert finding.severity == "warning"
    assert "fell at no rate" in finding.evidence


def test_a_loss_that_is_not_finite_before_any_update_is_an_error():
    assert check_learning_rate(RangeTest([1e-6], [math.nan]), 1e-3).severity == "error"


def test_the_factor_fits_the_rate_that_is_named():
    finding = check_learning_rate(RangeTest([2.9e-5, 1e-2], [1.0, 0.5], 0.1), 1e-8)  # a twentieth is 1.45e-6
    assert finding.override == "optimizer.lr=1e-06"
    assert "100 times below a safe 1e-06" in finding.evidence
