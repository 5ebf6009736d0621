"""The reach of attention, measured where weights are known, and judged against the lookback."""

import pytest
import torch

from vestim_pl.diagnosis.checks.attention_span import (
    AttentionSpan,
    check_attention_span,
    measure_attention_span,
    reach_of,
)
from vestim_pl.networks import build_network


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


def flat(lookback, heads=1, rates=None, **options):
    """A network whose queries and keys say nothing, so that its weights follow from the decay rates alone."""
    network = build_network(
        {"name": "Transformer", "hidden_sizes": [4], "heads": heads, "lookback": lookback, **options}, features=3
    )
    layer = network.layers[0]
    torch.nn.init.zeros_(layer.query.weight)
    layer.rates.copy_(torch.tensor(rates or [0.0] * heads))
    return network


def test_even_weights_reach_over_the_whole_lookback():
    network = flat(lookback=200)
    [span] = measure_attention_span(network, lambda: network(torch.randn(2, 500, 3)))
    assert span.layer == "layers.0"
    assert span.weights[:200] == pytest.approx([1 / 200] * 200)
    assert not any(span.weights[200:])
    assert span.reach == 198


def test_decaying_weights_reach_as_far_as_they_decay():
    network = flat(lookback=500, heads=2, rates=[0.0, 0.1])
    [span] = measure_attention_span(network, lambda: network(torch.randn(2, 500, 3), None, 1))
    assert span.nearest_head == 47  # 1 - exp(-0.1 n) = 0.99
    assert span.farthest_head == 495


def test_every_layer_is_measured_in_order():
    network = build_network({"name": "Transformer", "hidden_sizes": [32, 32], "lookback": 30}, features=3)
    spans = measure_attention_span(network, lambda: network(torch.randn(2, 30, 3), None, 1))
    assert [span.layer for span in spans] == ["layers.0", "layers.1"]
    assert all(sum(span.weights) == pytest.approx(1) for span in spans)


def test_a_network_without_attention_has_no_span():
    network = build_network({"name": "LSTM"}, features=3)
    assert measure_attention_span(network, lambda: network(torch.randn(2, 5, 3))) == []


@pytest.mark.parametrize(("mass", "reach"), [(0.5, 1), (0.51, 2), (0.75, 2), (1.0, 4)])
def test_reach_counts_the_last_steps_that_hold_the_mass(mass, reach):
    assert reach_of(torch.tensor([0.5, 0.25, 0.125, 0.125]), mass) == reach
