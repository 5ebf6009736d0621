import math

import pytest

from vestim_pl.diagnosis.clipping import check_clipping, round_up

NORMS = [1.0, 1.1, 1.2, 1.3, 1.4]


def test_a_threshold_below_every_norm_limits_every_step():
    finding = check_clipping(NORMS, 0.5)
    assert finding.severity == "warning"
    assert "5 of the first 5 steps (100 %)" in finding.evidence
    assert "from a median of 1.2 by 2.4" in finding.evidence
    assert finding.override == "trainer.gradient_clip_val=1.4"  # P90 is 1.36


def test_a_threshold_just_below_is_a_note():
    assert check_clipping(NORMS, 0.95).severity == "note"


def test_a_threshold_above_nearly_every_norm_is_as_it_should_be():
    finding = check_clipping([*NORMS, 9.0], 1.5)
    assert finding.severity == "ok"
    assert "1 of the first 6 steps (17 %)" in finding.evidence
    assert not finding.override


@pytest.mark.parametrize("threshold", [None, 0.0])
def test_no_clipping_is_a_warning_unless_the_limit_adapts(threshold):
    finding = check_clipping(NORMS, threshold)
    assert (finding.severity, finding.override) == ("warning", "trainer.gradient_clip_val=1.4")
    assert check_clipping(NORMS, threshold, adaptive=True).severity == "ok"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_an_error(bad):
    finding = check_clipping([1.0, bad], 1.0)
    assert finding.severity == "error"
    assert "not finite in 1 of the first 2 steps" in finding.evidence


@pytest.mark.parametrize("value", [0.031, 1.3, 25.0, 1.0])
def test_rounding_up_keeps_two_digits(value):
    assert round_up(value) == value
    assert value < round_up(value * 1.001) <= value * 1.1
