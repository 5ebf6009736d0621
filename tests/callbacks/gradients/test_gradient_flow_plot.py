import math

from vestim_pl.callbacks.gradients.gradient_flow import FlowVerdict, GradientFlow
from vestim_pl.callbacks.gradients.gradient_flow_plot import plot_gradient_flow


def test_draws_layers_with_zero_and_non_finite_norms(tmp_path):
    norms = [1.0, 0.5, 0.0, math.nan]
    flows = [
        GradientFlow("a", norms, [], 2, 0.5, 0.5, FlowVerdict.VANISHES, False),
        GradientFlow("b", [0.0, 0.0], [], 0, math.nan, math.nan, FlowVerdict.NO_GRADIENT, False),
    ]
    plot_gradient_flow(flows, tmp_path / "plot.png", "step 3")
    assert (tmp_path / "plot.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
