import math

import pytest

from vestim_pl.diagnosis.checks.clipping import ClipSetting, check_clipping, round_up
from vestim_pl.settings.override import Override

NORMS = [1.0, 1.1, 1.2, 1.3, 1.4]


def test_a_threshold_below_every_norm_limits_every_step():
    finding = check_clipping(NORMS, ClipSetting(0.5))
    assert finding.severity == "warning"
    assert "5 of the first 5 steps (100 %)" in finding.evidence
    assert "from a median of 1.2 by 2.4" in finding.evidence
    assert finding.override == "trainer.gradient_clip_val=1.4"  # P90 is 1.36


def test_a_threshold_just_below_is_a_note():
    assert check_clipping(NORMS, ClipSetting(0.95)).severity == "note"


def test_a_threshold_above_nearly_every_norm_is_as_it_should_be():
    finding = check_clipping([*NORMS, 9.0], ClipSetting(1.5))
    assert finding.severity == "ok"
    assert "1 of the first 6 steps (17 %)" in finding.evidence
    assert not finding.override


@pytest.mark.parametrize("threshold", [None, 0.0])
def test_no_clipping_is_a_warning_unless_the_limit_adapts(threshold):
    finding = check_clipping(NORMS, ClipSetting.of({"gradient_clip_val": threshold}, {}))
    assert (finding.severity, finding.override) == ("warning", "trainer.gradient_clip_val=1.4")
    assert check_clipping(NORMS, ClipSetting(adaptive=True)).severity == "ok"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_an_error(bad):
    finding = check_clipping([1.0, bad], ClipSetting(1.0), lower_rate=(Override("optimizer.lr", 0.001),))
    assert finding.severity == "error"
    assert "non-finite in 1 of the first 2 steps, first after 1 update" in finding.evidence
    assert finding.override == "optimizer.lr=0.001"
    assert not check_clipping([bad], ClipSetting(1.0), lower_rate=(Override("optimizer.lr", 0.001),)).override, (
        "no rate is the cause"
    )


@pytest.mark.parametrize("value", [0.031, 1.3, 25.0, 1.0])
def test_rounding_up_keeps_two_digits(value):
    assert round_up(value) == value
    assert value < round_up(value * 1.001) <= value * 1.1


def adaptive(**options: object) -> ClipSetting:
    node = {"_target_": "vestim_pl.callbacks.AdaptiveGradientClipping", **options}
    return ClipSetting.of({"gradient_clip_val": None}, {"off": None, "mine": node})


def test_the_bound_of_an_adaptive_limit_is_held_against_the_norms():
    finding = check_clipping(NORMS, adaptive(max_norm=0.5))
    assert (finding.severity, finding.override) == ("warning", "callbacks.mine.max_norm=1.4")
    assert "clipping at 0.5 engages in 5 of the first 5 steps" in finding.evidence
    assert check_clipping(NORMS, adaptive(max_norm=2.0)).severity == "ok"
    assert check_clipping(NORMS, adaptive()).evidence.startswith("the limit follows the norm")
    assert not ClipSetting.of({}, {"adaptive_clipping": None}).adaptive


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_no_threshold_comes_from_steps_at_a_rate_that_is_too_high(threshold):
    finding = check_clipping(NORMS, ClipSetting(threshold), unstable=True)
    assert (finding.severity, finding.override) == ("warning", "")
    assert "once the learning rate is stable" in finding.evidence


def test_values_are_not_called_norms():
    by_value = ClipSetting.of({"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"}, {})
    finding = check_clipping(NORMS, by_value)
    assert "largest gradient value" in finding.evidence
    assert "norm" not in finding.evidence
    assert check_clipping([0.02, 0.03], ClipSetting(by_value=True)).override == "trainer.gradient_clip_val=0.029"
