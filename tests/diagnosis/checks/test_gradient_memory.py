import pytest

from vestim_pl.callbacks.gradients.gradient_flow import GradientFlow, summarize_flow
from vestim_pl.diagnosis.checks.gradient_memory import check_gradient_memory


def flow(factor: float, length: int = 400, layer: str = "layers.0") -> GradientFlow:
    norms = [factor**lag for lag in range(length)]
    return GradientFlow(layer, norms, [], *summarize_flow(norms), False)


def test_a_gradient_that_vanishes_early_is_a_warning():
    finding = check_gradient_memory([flow(0.5)], 400)
    assert finding.severity == "warning"
    assert "within the last 7 of 400 steps (2 %)" in finding.evidence
    assert "x 0.5 a step" in finding.evidence
    assert finding.override == "sampling.lookback=20"
    assert check_gradient_memory([flow(0.5)], 400, chrono_is_open=True).override == "network.forget_bias=chrono"


def test_a_third_of_the_window_is_a_note():
    assert check_gradient_memory([flow(0.965)], 400).severity == "note"


def test_a_gradient_that_reaches_through_is_as_it_should_be():
    assert check_gradient_memory([flow(0.999)], 400).severity == "ok"


def test_the_layer_with_the_longest_memory_counts():
    assert check_gradient_memory([flow(0.5), flow(0.999, layer="layers.1")], 400).severity == "ok"


def test_a_gradient_that_explodes_is_an_error():
    finding = check_gradient_memory([flow(0.9), flow(1.05, layer="layers.1")], 400)
    assert (finding.severity, finding.override) == ("error", "sampling.lookback=200")
    assert "layers.1 grows going back in time (x 1.05 a step" in finding.evidence


def test_no_gradient_at_all_is_an_error():
    norms = [0.0] * 10
    assert check_gradient_memory([GradientFlow("a", norms, [], *summarize_flow(norms), False)], 10).severity == "error"


def test_a_network_without_recurrence_is_a_note():
    assert check_gradient_memory([], 400).severity == "note"


@pytest.mark.parametrize("factor", [0.2, 0.5, 0.9, 0.965])
def test_the_window_that_it_suggests_is_shorter_and_long_enough(factor):
    finding = check_gradient_memory([flow(factor)], 400, chrono_is_open=False)
    shorter = int(finding.override.removeprefix("sampling.lookback="))
    assert shorter < 400
    assert check_gradient_memory([flow(factor, shorter)], shorter).severity == "ok"


def test_a_non_finite_gradient_is_reported_without_figures():
    norms = [1.0, float("inf"), 2.0]
    lost = GradientFlow("layers.1", norms, [], *summarize_flow(norms), False)
    finding = check_gradient_memory([flow(0.9, 3), flow(50.0, 3, "grows"), lost], 3)
    assert finding.severity == "error"
    assert finding.evidence == "the gradient of layers.1 becomes non-finite going back over 3 steps: it explodes"
