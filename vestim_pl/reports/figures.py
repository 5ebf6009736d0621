"""Shared parts of the figures of a report: colour-blind-safe colours, style, and PNG as text."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILION",
    "data_uri",
    "legend_above",
    "new_figure",
    "plain_log_axis",
    "style",
]

# Okabe & Ito (2008)
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY, PURPLE, GREY = "#E69F00", "#56B4E9", "#CC79A7", "#6b7280"

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": "#374151",
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "xtick.color": "#4b5563",
    "ytick.color": "#4b5563",
    "lines.linewidth": 1.5,
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fontsize": 9.0,
    "path.simplify": True,
}


@contextmanager
def style() -> Iterator[None]:
    """Use the style of the figures, independent of any matplotlibrc, and restore the previous one."""
    from matplotlib import rc_context, rcParamsDefault

    untouched = ("backend", "backend_fallback", "interactive", "toolbar")
    look: Any = {key: value for key, value in rcParamsDefault.items() if key not in untouched} | _STYLE
    with rc_context(look):
        yield


def new_figure(width: float = 8.0, height: float = 4.0) -> "Figure":
    """Create a figure on the Agg canvas without global state; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def data_uri(figure: "Figure", dpi: int = 140) -> str:
    """Encode a figure as a PNG in a ``data:`` address, always with the same bytes; the figure is cleared."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    figure.clear()
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def legend_above(axes: "Axes") -> None:
    """Put the legend in one line above the panel, to the right of its title."""
    legend = axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=6, borderaxespad=0.1, columnspacing=1.4)
    legend.set_in_layout(False)


def plain_log_axis(axes: "Axes") -> None:
    """Use a logarithmic y axis with plain numbers, 5, 10, 20, instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high / low < 300:
        subs = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if high / low < 30 else (1.0, 2.0, 5.0)
        axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
