import pytest

from vestim_pl.functional.recovery_factor import RecoveryFactor


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


def test_a_divergence_starts_the_quiet_time_anew():
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
