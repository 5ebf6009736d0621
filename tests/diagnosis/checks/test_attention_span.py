"""What attention reaches, judged against the lookback."""

import pytest

from vestim_pl.diagnosis.attention_span import AttentionSpan
from vestim_pl.diagnosis.checks.attention_span import check_attention_span


def span(reach, farthest, nearest=3, layer="layers.0"):
    return AttentionSpan(layer, [], reach, farthest, nearest)


def test_a_long_reach_is_fine():
    finding = check_attention_span([span(20, 30), span(150, 190)], lookback=200, covered=399)
    assert (finding.severity, finding.override) == ("ok", "")
    assert finding.evidence.startswith("99 % of the attention lies within the last 150 of 200 steps (75 %)")
    assert "by head 3 to 190 steps" in finding.evidence


def test_a_short_reach_names_the_lookback_that_would_do():
    finding = check_attention_span([span(20, 26)], lookback=400, covered=799, probe="gradient_flow")
    assert (finding.severity, finding.override) == ("note", "sampling.lookback=60")
    assert "gradient_flow shows whether the reach grows" in finding.evidence


def test_no_lookback_longer_than_the_present_one_is_suggested():
    finding = check_attention_span([span(20, 190)], lookback=200, covered=399)
    assert (finding.severity, finding.override) == ("note", "")


@pytest.mark.parametrize(("covered", "severity"), [(399, "warning"), (400, "ok")])
def test_steps_that_no_layer_reaches_are_a_waste(covered, severity):
    finding = check_attention_span([span(190, 200)], lookback=400, covered=covered)
    assert finding.severity == severity
    if severity == "warning":
        assert finding.override == "network.lookback=400"
        assert "the first 1 of 400 steps of a window are computed and never used" in finding.evidence
