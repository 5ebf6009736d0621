import math

import pytest

from vestim_pl.callbacks.recovery.validation_trend import ValidationTrend
from vestim_pl.errors import ConfigurationError

# Epochs of preset=resilient on the demo data after a rollback, still at 0.1: mean training loss, validation RMSE in mV.
NOISY = [
    (0.549, 126),
    (0.108, 81),
    (0.071, 81),
    (0.06, 69),
    (0.054, 120),
    (0.054, 65),
    (0.07, 99),
    (0.063, 69),
    (0.05, 50),
    (0.049, 75),
    (0.044, 74),
    (0.065, 48),
    (0.046, 59),
    (0.041, 106),
    (0.038, 28),
    (0.042, 33),
    (0.04, 28),
    (0.039, 27),
    (0.034, 45),
    (0.038, 38),
]
DEAD = [(0.3, 60.0), (0.1, 41.0), (0.5, 133.0), (0.6, 80.0), (0.6, 190.0), (0.6, 170.0)]


def follow(trend, epochs):
    """Number of the epoch whose validation reports a divergence; None without one."""
    for epoch, (loss, value) in enumerate(epochs):
        trend.add_loss(loss)
        if trend.observe("val", value):
            return epoch
    return None


def test_a_network_that_stays_far_above_its_best_is_reported_at_the_third_bad_validation():
    assert follow(ValidationTrend(2.0, 3), DEAD) == 5  # 80 is not twice 41, and clears nothing
    assert follow(ValidationTrend(2.0, 1), DEAD) == 2
    assert follow(ValidationTrend(None, 1), DEAD) is None


def test_a_noisy_run_that_keeps_learning_is_not_reported():
    assert follow(ValidationTrend(2.0, 3), NOISY) is None


def test_a_new_best_value_resets_the_count():
    epochs = [*DEAD[:5], (0.05, 20.0), (0.6, 133.0), (0.6, 133.0)]
    assert follow(ValidationTrend(2.0, 3), epochs) is None


def test_overfitting_is_no_divergence():
    overfits = [(1 / (1 + epoch), 40.0 + 10 * epoch) for epoch in range(50)]
    assert follow(ValidationTrend(2.0, 3), overfits) is None
    assert follow(ValidationTrend(2.0, 3), [(1.0, value) for _, value in overfits]) == 7


@pytest.mark.parametrize("losses", [[], [-1.0], [0.0], [math.nan], [math.inf]])
def test_without_losses_to_compare_nothing_is_reported(losses):
    trend = ValidationTrend(2.0, 1)
    for value in (1.0, 9.0, 9.0):
        for loss in losses:
            trend.add_loss(loss)
        assert not trend.observe("val", value)


def test_a_best_below_zero_has_no_ratio():
    assert follow(ValidationTrend(2.0, 1), [(1.0, -5.0), (1.0, -1.0), (1.0, 3.0)]) is None
    assert follow(ValidationTrend(2.0, 1), [(1.0, 0.0), (1.0, 3.0)]) is None


def test_after_a_return_the_best_of_the_weights_is_the_measure():
    trend = ValidationTrend(2.0, 2)
    follow(trend, [(1.0, 40.0)])
    saved = trend.state_dict()
    assert follow(trend, [(1.0, 30.0), (1.0, 90.0), (1.0, 90.0)]) == 2
    assert trend.diverged
    trend.go_back(saved)
    assert not trend.diverged
    assert follow(trend, [(1.0, 79.0)] * 9) is None
    assert follow(trend, [(1.0, 81.0)] * 9) == 1


def test_state_round_trip():
    trend, other = ValidationTrend(2.0, 3), ValidationTrend(2.0, 3)
    follow(trend, DEAD[:4])
    trend.add_loss(0.7)
    other.load_state_dict(trend.state_dict())
    assert other.state_dict() == trend.state_dict()
    assert follow(other, DEAD[4:]) == follow(trend, DEAD[4:]) == 1


@pytest.mark.parametrize(("ratio", "patience"), [(1.0, 3), (2.0, 0)])
def test_arguments_out_of_range_are_refused(ratio, patience):
    with pytest.raises(ConfigurationError, match=f"validation_ratio={ratio}, validation_patience={patience}"):
        ValidationTrend(ratio, patience)
