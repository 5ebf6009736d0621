import math
import random

import pytest

from vestim_pl.callbacks.recovery.loss_trend import LossTrend
from vestim_pl.errors import ConfigurationError


def follow(trend, losses, per_epoch=0):
    """Reasons by step."""
    reasons = {}
    for step, loss in enumerate(losses):
        reason = trend.observe(loss)
        if per_epoch and (step + 1) % per_epoch == 0:
            reason = trend.end_epoch()
        if reason:
            reasons[step] = reason
    return reasons


def falling(steps, noise=0.5, seed=0):
    generator = random.Random(seed)
    return [(0.05 + math.exp(-step / 100)) * math.exp(generator.gauss(0, noise)) for step in range(steps)]


def test_a_dead_level_far_above_the_best_is_reported_within_two_periods():
    reasons = follow(LossTrend(3.0, 50), falling(500) + [1.0] * 100)
    assert 500 < min(reasons) < 600
    assert "3 times the best such mean" in reasons[min(reasons)]


def test_a_slow_climb_that_is_no_spike_is_reported():
    climb = [0.1 * 1.01**step for step in range(400)]
    assert follow(LossTrend(3.0, 50), [0.1] * 200 + climb)


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_a_plateau_at_the_start_and_single_outliers_are_none(seed):
    losses = [1.3] * 300 + falling(2000, noise=1.0, seed=seed)
    losses[700] = losses[1500] = 1e4
    assert follow(LossTrend(3.0, 200), losses) == {}


def test_before_the_first_period_the_untrained_level_stands_in():
    assert follow(LossTrend(3.0, 50), [1.0] * 10 + [30.0] * 40)
    assert not follow(LossTrend(3.0, 50), [1.0] * 10 + [2.0] * 40)
    trained = LossTrend(3.0, 50)
    trained.untrained = False
    assert not follow(trained, [1.0] * 10 + [30.0] * 40)


def stream(epochs, per_epoch=30):
    """The same easy and hard stretches in every epoch; the hard ones twenty times as hard."""
    return [0.1 if step % per_epoch < 20 else 2.0 for step in range(epochs * per_epoch)]


def test_whole_epochs_are_compared_where_stretches_are_not():
    assert follow(LossTrend(3.0, 10), stream(10))
    assert not follow(LossTrend(3.0, 10, whole_epochs=True), stream(10), per_epoch=30)
    worse = [5 * loss for loss in stream(3)]
    reasons = follow(LossTrend(3.0, 10, whole_epochs=True), stream(10) + worse, per_epoch=30)
    assert min(reasons) == 11 * 30 - 1


def test_a_period_of_epochs_has_at_least_the_window():
    trend = LossTrend(3.0, 50, whole_epochs=True)
    ends = []
    for step, loss in enumerate(stream(6), start=1):
        trend.observe(loss)
        if step % 30 == 0:
            trend.end_epoch()
            ends.append(trend.periods)
    assert ends == [0, 1, 1, 2, 2, 3]


def test_after_a_return_in_mid_epoch_the_rest_of_it_does_not_count():
    trend = LossTrend(3.0, 10, whole_epochs=True)
    follow(trend, stream(4), per_epoch=30)
    saved = trend.state_dict()
    follow(trend, [50.0] * 25)
    assert trend.diverging
    trend.go_back(saved)
    assert not trend.diverging
    assert not follow(trend, [2.0] * 5, per_epoch=5)  # only the hard stretch of an epoch
    assert not follow(trend, stream(3), per_epoch=30)
    assert follow(trend, [1.0] * 30, per_epoch=30)


def test_the_best_level_stays_if_the_weights_are_from_its_period_or_later():
    trend = LossTrend(3.0, 20)
    follow(trend, [1.0] * 20)
    early = trend.state_dict()
    follow(trend, [0.1] * 10)
    late = trend.state_dict()
    follow(trend, [0.1] * 10)
    trend.go_back(late)
    assert trend.limit == pytest.approx(0.3)
    trend.go_back(early)  # slower from there, with a level that those weights never had
    assert trend.limit == pytest.approx(3.0)


def test_zeros_do_not_count_and_losses_below_zero_switch_it_off():
    zeros = [1.0, 0.0] * 100
    assert not follow(LossTrend(3.0, 20), zeros)
    assert follow(LossTrend(3.0, 20), [*zeros, *[4.0] * 20])
    assert not follow(LossTrend(3.0, 20), [*zeros, -1e-3, *[4.0] * 40])
    assert not follow(LossTrend(None, 20), [1.0] * 20 + [9.0] * 40)


def test_state_round_trip():
    trend, other = LossTrend(3.0, 20), LossTrend(3.0, 20)
    losses = falling(95) + [5.0] * 10
    follow(trend, losses)
    other.load_state_dict(trend.state_dict())
    assert other.state_dict() == trend.state_dict()
    assert follow(trend, [5.0] * 30) == follow(other, [5.0] * 30) != {}


@pytest.mark.parametrize(("ratio", "window"), [(1.0, 200), (3.0, 9)])
def test_arguments_out_of_range_are_refused(ratio, window):
    with pytest.raises(ConfigurationError, match=f"trend_ratio={ratio}, trend_window={window}"):
        LossTrend(ratio, window)
