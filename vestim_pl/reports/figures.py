"""Build figures of plotly.js as plain dictionaries: colours by name, panels above each other, numbers without NaN.

`assets/plots.js` puts the colours of the light or the dark page in place of their names.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "INK",
    "ORANGE",
    "PALETTE",
    "PURPLE",
    "SKY",
    "VERMILION",
    "Figure",
    "Panel",
    "line",
    "numbers",
    "plain",
    "stack",
    "upright",
    "value_axis",
]

Figure = dict[str, Any]
"""What ``Plotly.newPlot`` takes: ``data`` and ``layout``."""

# Okabe & Ito (2008); report.css has the values for light and dark pages
BLUE, VERMILION, GREEN, ORANGE = "--blue", "--vermilion", "--green", "--orange"
SKY, PURPLE, GREY, INK = "--sky", "--purple", "--grey", "--ink"
PALETTE = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY)
"""Colours of checkpoints or jobs, in order."""

_GAP = 0.075  # of the height, between panels
_WIDE = 4.0  # ratio of largest to smallest value
_LABEL = 22  # pixels


def numbers(values: ArrayLike, digits: int = 5) -> list[float | None]:
    """Round numbers for JSON; a non-finite one becomes None, which leaves a gap in a line.

    Example::

        >>> numbers([1 / 3, float("nan"), 12345678])
        [0.33333, None, 12346000.0]

    """
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in np.asarray(values, np.float64)]


def plain(text: object) -> str:
    """Escape text that plotly would read as markup.

    Example::

        >>> plain("<b>udds</b> & us06")
        '&lt;b&gt;udds&lt;/b&gt; &amp; us06'

    """
    return html.escape(str(text), quote=False)


def line(x: ArrayLike, y: ArrayLike, name: str, color: str, **more: Any) -> dict[str, Any]:
    """Make a line of plotly; further values of the trace are merged in.

    Example::

        >>> line([0, 1], [2, 3], "measured", BLUE, mode="markers")["mode"]
        'markers'

    """
    style = {"color": color, "width": 1.6} | more.pop("line", {})
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plain(name),
        "x": numbers(x, 8),
        "y": numbers(y),
        "line": style,
        **more,
    }


def value_axis(values: Iterable[float], height: int, always_log: bool = False) -> dict[str, Any]:
    """Choose a logarithmic axis where positive values spread far, with ticks at 1, 2, 5, 10 if they fit.

    A constant positive value, such as a learning rate, is in the middle of an axis from zero; plotly would show it
    between -1 and 1.

    Args:
        values: What the axis shows; non-finite ones do not count.
        height: Pixels for the labels of ticks.
        always_log: Whether it is logarithmic in any case.

    Example::

        >>> value_axis([1.0, 20.0], 300)["dtick"], value_axis([1.0, 2.0], 300), value_axis([-1.0, 100.0], 300)
        ('D2', {}, {})
        >>> value_axis([1e-4, 1e-4], 300)
        {'range': [0, 0.0002]}

    """
    finite = [value for value in values if np.isfinite(value) and (value > 0 or not always_log)]
    spread = max(finite) / min(finite) if finite and min(finite) > 0 else 0.0
    if not always_log and spread == 1:
        return {"range": [0, 2 * finite[0]]}
    if not always_log and spread <= _WIDE:
        return {}
    fits = spread > 0 and 3 * _LABEL * np.log10(spread) < height
    return {"type": "log"} | ({"dtick": "D2"} if fits else {"dtick": 1} if spread > 10 else {})


@dataclass(frozen=True)
class Panel:
    """One of several panels above each other.

    Attributes:
        height: In pixels.
        title: Heading.
        traces: Traces of plotly, without axes.
        axis: Layout of the y axis.
        overlaid: Traces whose y goes from 0 at the lower to 1 at the upper edge, whatever the axis.

    """

    height: int
    title: str
    traces: Sequence[Mapping[str, Any]]
    axis: Mapping[str, Any] = field(default_factory=dict)
    overlaid: Sequence[Mapping[str, Any]] = ()


def stack(panels: Sequence[Panel], x_axis: Mapping[str, Any]) -> Figure:
    """Put panels above each other, with one x axis below the last.

    Args:
        panels: From top to bottom.
        x_axis: Layout of the x axis.

    Example::

        >>> figure = stack([Panel(200, "Error", [line([0], [1], "a", BLUE)]), Panel(100, "Rate", [])], {})
        >>> figure["layout"]["yaxis2"]["domain"][0], figure["data"][0]["yaxis"]
        (0.0, 'y')

    """
    total = sum(panel.height for panel in panels)
    free = 1.0 - _GAP * (len(panels) - 1)
    above = {"y": 1 + _LABEL / total}  # the legend, so that it stays clear of the first title
    layout: dict[str, Any] = {"height": total + 110, "annotations": [], "hovermode": "x unified", "legend": above}
    data: list[Any] = []
    top = 1.0
    for place, panel in enumerate(panels, start=1):
        low = max(0.0, round(top - free * panel.height / total, 6))
        name = "" if place == 1 else str(place)
        layout[f"yaxis{name}"] = {"domain": [low, round(top, 6)], **panel.axis}
        data += [{**trace, "xaxis": "x", "yaxis": f"y{name}"} for trace in panel.traces]
        if panel.overlaid:
            over = len(panels) + place
            layout[f"yaxis{over}"] = {
                "overlaying": f"y{name}", "range": [0, 1], "visible": False, "fixedrange": True
            }  # fmt: skip
            data += [{**trace, "xaxis": "x", "yaxis": f"y{over}"} for trace in panel.overlaid]
        layout["annotations"].append(
            {"text": panel.title, "xref": "paper", "yref": "paper", "x": 0, "y": top, "xanchor": "left",
             "yanchor": "bottom", "showarrow": False}
        )  # fmt: skip
        top = low - _GAP
    layout["xaxis"] = {"zeroline": False, "anchor": "y" if len(panels) == 1 else f"y{len(panels)}", **x_axis}
    layout["hoversubplots"] = "axis"
    return {"data": data, "layout": layout}


def upright(x: float, color: str, **more: Any) -> dict[str, Any]:
    """Make a thin vertical line through all panels."""
    style = {"color": color, "width": 1} | more.pop("line", {})
    return {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": style, **more}
