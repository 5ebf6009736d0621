import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestim_pl.callbacks.recovery.recovery_factor import RecoveryFactor


def test_cut_stays_without_raise_after():
    factor = RecoveryFactor(0.1, None, 2.0)
    factor.diverged(1.0)
    assert not any(factor.quiet_step() for _ in range(1000))
    assert factor.value == pytest.approx(0.1)


def test_raised_to_one_after_the_first_and_below_the_wall_after_the_next():
    factor = RecoveryFactor(0.25, 1, 2.0)
    factor.diverged(1.0)
    assert [factor.quiet_step() for _ in range(4)] == [True, True, False, False]
    assert factor.value == 1.0
    factor.diverged(1.0)
    for _ in range(10):
        factor.quiet_step()
    assert factor.value == 0.5


def test_a_divergence_restarts_the_count_of_quiet_steps():
    factor = RecoveryFactor(0.1, 3, 2.0)
    factor.diverged(1.0)
    factor.quiet_step()
    factor.quiet_step()
    factor.diverged(1.0)
    assert [factor.quiet_step() for _ in range(3)] == [False, False, True]


def test_state_round_trip():
    factor, other = RecoveryFactor(0.1, 3, 2.0), RecoveryFactor(0.1, 3, 2.0)
    factor.diverged(1.0)
    factor.diverged(1.0)
    factor.quiet_step()
    other.load_state_dict(factor.state_dict())
    assert other.state_dict() == factor.state_dict()
    assert [other.quiet_step() for _ in range(2)] == [False, True]


def test_a_rising_schedule_never_carries_the_rate_above_the_cut_one():
    factor, warmup = RecoveryFactor(0.1, None, 2.0), [0.01 * step for step in range(1, 101)]
    factor.diverged(0.05)
    rates = [rate * factor.hold(rate) for rate in warmup]
    assert max(rates) == pytest.approx(0.005)
    assert rates[0] == pytest.approx(0.001)  # no less than asked for where the schedule itself is low
    assert factor.value == pytest.approx(0.005)  # lowered for good:
    assert 0.5 * factor.hold(0.5) == pytest.approx(0.0025)  # a later cut of another factor counts at once


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=50), st.floats(1e-6, 10), st.floats(0.01, 0.9))
def test_the_rate_is_at_most_the_cut_one_and_at_most_the_cut_share(rates, diverged, cut):
    factor = RecoveryFactor(cut, None, 2.0)
    factor.diverged(diverged)
    for rate in rates:
        used = rate * factor.hold(rate)
        assert used <= min(cut * diverged, cut * rate) * (1 + 1e-12)


def test_raises_lift_the_limit_on_the_rate_too_up_to_half_of_where_it_diverged_again():
    factor = RecoveryFactor(0.1, 1, 2.0)
    factor.diverged(0.3)
    assert factor.hold(1.0) == pytest.approx(0.03)
    factor.quiet_step()
    assert factor.hold(1.0) == pytest.approx(0.06)
    factor.diverged(0.06)
    for _ in range(20):
        factor.quiet_step()
        factor.hold(1.0)
    assert factor.hold(1.0) == pytest.approx(0.03)
