import math

from hypothesis import given
from hypothesis import strategies as st

from vestim_pl.callbacks.recovery.loss_spike import LossSpike, spike_threshold


def watch(**options):
    return LossSpike(**({"ratio": 5.0, "deviations": 10.0, "window": 50, "patience": 3} | options))


def test_threshold_ignores_outliers_in_its_history():
    losses = [1.0, 1.2, 0.8, 1.1, 0.9] * 4
    assert spike_threshold([*losses, 1e6, 1e9], 2.0, 5.0) == spike_threshold(losses, 2.0, 5.0)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30))
def test_threshold_is_at_least_the_ratio_and_scales_with_the_loss(losses):
    limit = spike_threshold(losses, 5.0, 10.0)
    assert limit >= 5.0 * sorted(losses)[(len(losses) - 1) // 2] * (1 - 1e-9)
    assert math.isclose(spike_threshold([8 * loss for loss in losses], 5.0, 10.0), 8 * limit, rel_tol=1e-9)


def test_spike_needs_patience_and_suspects_do_not_raise_the_threshold():
    follows = watch()
    for _ in range(20):
        assert follows.observe(1.0) == (False, "")
    assert [follows.observe(loss) for loss in (6.0, 60.0)] == [(True, "")] * 2
    suspect, reason = follows.observe(600.0)
    assert suspect
    assert "600 for 3 steps" in reason
    assert max(follows.losses) == 1.0


def test_a_good_step_ends_the_row():
    follows = watch(patience=2)
    reasons = [follows.observe(loss)[1] for loss in [1.0] * 20 + [9.0, 1.0] * 5]
    assert set(reasons) == {""}


def test_nan_is_suspect_from_the_first_step_and_without_a_ratio():
    assert watch(patience=1).observe(math.nan) == (True, "the loss is at nan for 1 steps")
    follows = watch(ratio=None, patience=1)
    assert [follows.observe(loss)[0] for loss in [1.0] * 30 + [1e30, math.inf]][-2:] == [False, True]


def test_falling_loss_and_noise_are_no_spike():
    follows = watch(patience=1)
    assert not any(follows.observe(math.exp(-step / 20) * (1 + 0.5 * (-1) ** step))[0] for step in range(200))


def test_with_few_losses_the_threshold_is_higher_but_an_explosion_from_the_first_step_is_reported():
    easy_first_batch = watch(patience=1)
    assert not any(easy_first_batch.observe(loss)[0] for loss in [0.1, *[1.0] * 20])
    exploded = watch()
    assert [exploded.observe(loss)[0] for loss in (1.3, 500.0, 800.0, 400.0)] == [False, True, True, True]


def test_of_a_stream_the_highest_loss_of_two_epochs_is_the_measure():
    follows = watch(patience=1, whole_epochs=True)
    stretches = [0.1] * 20 + [2.0] * 10
    for _ in range(3):
        assert not any(follows.observe(loss)[0] for loss in stretches)
        follows.end_epoch()
    assert not follows.observe(9.9)[0]
    follows.end_epoch()
    assert (
        follows.observe(50.0)[1]
        == "the loss is at 50 for 1 steps, above 49.5, from a highest of 9.9 in this epoch and the last"
    )
    for _ in range(2):
        follows.observe(0.1)
        follows.end_epoch()
    assert follows.observe(0.6)[0]
