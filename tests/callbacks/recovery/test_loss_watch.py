from vestim_pl.callbacks.recovery.loss_spike import LossSpike
from vestim_pl.callbacks.recovery.loss_trend import LossTrend
from vestim_pl.callbacks.recovery.loss_watch import LossWatch
from vestim_pl.callbacks.recovery.validation_trend import ValidationTrend


def watch(whole_epochs=False):
    spike, trend = LossSpike(5.0, 10.0, 50, 3, whole_epochs), LossTrend(3.0, 20, whole_epochs)
    return LossWatch(spike, trend, ValidationTrend(2.0, 2))


def test_a_spike_and_a_bad_level_are_reported():
    follows = watch()
    reasons = [follows.observe(loss)[1] for loss in [1.0] * 40 + [4.0] * 20]
    assert "the loss has a mean of 4" in reasons[-1]
    follows = watch()
    reasons = [follows.observe(loss)[1] for loss in [1.0] * 40 + [6.0] * 3]
    assert "the loss is at 6 for 3 steps" in reasons[-1]


def test_steps_of_a_bad_level_are_suspect_before_the_period_ends():
    follows = watch()
    suspects = [follows.observe(loss)[0] for loss in [1.0] * 40 + [4.0] * 10]
    assert suspects == [False] * 44 + [True] * 6


def test_going_back_forgets_both():
    follows = watch()
    for _ in range(45):
        follows.observe(1.0)
    saved = follows.state_dict()
    for _ in range(15):
        follows.observe(9.0)
    assert follows.trend.diverging
    follows.go_back(saved)
    assert (follows.spike.suspects, follows.trend.diverging) == (0, False)
    assert follows.observe(1.0) == (False, "")


def test_the_losses_between_two_validations_are_compared():
    follows = watch()
    reasons = []
    for loss, value in [(1.0, 40.0), (0.9, 100.0), (0.9, 100.0), (1.1, 100.0), (1.1, 100.0)]:
        for _ in range(5):
            follows.observe(loss)
        reasons.append(follows.validation.observe("val_rmse", value))
    assert [bool(reason) for reason in reasons] == [False, False, False, False, True]


def test_state_round_trip():
    follows, other = watch(True), watch(True)
    for step in range(1, 66):
        follows.observe(1.0 + step % 7)
        if step % 30 == 0:
            follows.end_epoch()
    other.load_state_dict(follows.state_dict())
    assert other.state_dict() == follows.state_dict()
    assert [other.observe(40.0) for _ in range(3)] == [follows.observe(40.0) for _ in range(3)]
