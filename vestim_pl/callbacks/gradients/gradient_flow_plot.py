"""Plot the gradient by lag."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vestim_pl.callbacks.gradients.gradient_flow import GradientFlow

__all__ = ["plot_gradient_flow"]

SMALLEST_SHOWN = 1e-10
"""Share of the largest norm below which the plot ends."""


def plot_gradient_flow(flows: Sequence[GradientFlow], path: Path, title: str, mass: float = 0.99) -> None:
    """Plot the norm of dLoss/dh by lag on a logarithmic axis, with the effective memory of each layer.

    Args:
        flows: Measured layers.
        path: PNG file to write.
        title: Title of the plot.
        mass: Share of the gradient that the effective memory holds, for the legend.

    """
    from matplotlib.figure import Figure  # the import takes half a second, and most runs never plot

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for number, flow in enumerate(flows):
        colour = f"C{number}"
        norms = np.asarray(flow.hidden_norms)
        shown = np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
        label = f"{flow.layer}: {flow.verdict}"
        if flow.effective_memory:
            label += f", {100 * mass:g} % within {flow.effective_memory} steps"
            axes.axvline(flow.effective_memory, color=colour, linestyle=":", linewidth=1.2)
        axes.plot(np.arange(len(norms)), shown, color=colour, linewidth=1.6, label=label)
    axes.set_yscale("log")
    axes.set_xlim(0, max(1, *(len(flow.hidden_norms) for flow in flows)))  # always the whole window
    positive = [norm for flow in flows for norm in flow.hidden_norms if np.isfinite(norm) and norm > 0]
    if positive:
        axes.set_ylim(bottom=max(0.5 * min(positive), SMALLEST_SHOWN * max(positive)))
    axes.set_xlabel("Lag before the estimated step [steps]")
    axes.set_ylabel("Norm of dLoss/dh")
    axes.set_title(title, loc="left")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=9, frameon=False)
    figure.savefig(path, dpi=120)
