"""Build the figure of the gradient through the window, from the files of `GradientFlowProbe`."""

import json
import math
import re
from pathlib import Path
from typing import Any

from vestim_pl.reports.figures import PALETTE, Figure, line

__all__ = ["gradient_flow_figure"]

_FILE = re.compile(r"step_(\d+)\.json")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_MOST = 12  # lines, the layers of the last steps
_DECADES = 10  # below the largest norm, where the axis ends


def gradient_flow_figure(run_dir: Path) -> Figure | None:
    """Arrange the norm of dLoss/dh over the lag, one line a layer and measured step; None without a measurement.

    Args:
        run_dir: Folder of a run, with ``gradient_flow/step_<n>.json``.

    """
    measured = [
        (int(match[1]), flow)
        for path in sorted(run_dir.glob("gradient_flow/step_*.json"))
        if (match := _FILE.fullmatch(path.name))
        for flow in _flows(path)
    ]
    layers = list(dict.fromkeys(str(flow["layer"]) for _, flow in measured))
    steps = list(dict.fromkeys(step for step, _ in measured))
    data, highest = [], -math.inf
    for step, flow in measured[-_MOST:]:
        norms = [norm if norm > 0 else math.nan for norm in map(float, flow["hidden_norms"])]
        memory = flow.get("effective_memory")
        name = f"step {step}, {flow['layer']}" + (f": 99 % within {memory} steps" if memory else "")
        color = PALETTE[steps.index(step) % len(PALETTE)]
        dash = _DASHES[layers.index(str(flow["layer"])) % len(_DASHES)]
        data.append(
            line(range(len(norms)), norms, name, color, line={"dash": dash},
                 hovertemplate="%{y:.2e}")
        )  # fmt: skip
        highest = max([highest, *(math.log10(norm) for norm in norms if 0 < norm < math.inf)])
    if not math.isfinite(highest):
        return None
    lowest = min(math.log10(norm) for each in data for norm in each["y"] if norm is not None)
    vertical = {"orientation": "v", "x": 0, "xanchor": "left", "y": -0.25, "yanchor": "top"}
    layout = {
        "height": 330 + 20 * len(data),
        "legend": vertical,
        "showlegend": True,
        "hovermode": "x unified",
        "xaxis": {"title": {"text": "Lag before the estimated step [steps]"}, "zeroline": False},
        "yaxis": {
            "title": {"text": "Norm of dLoss/dh"}, "type": "log", "dtick": "D2" if highest - lowest < 2 else 1,
            "range": [max(lowest, highest - _DECADES) - 0.2, highest + 0.2],
        },
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _flows(path: Path) -> list[dict[str, Any]]:
    """Measured layers of a file; none of one that a run left incomplete."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
        return [flow for flow in loaded if flow["layer"] and [float(norm) for norm in flow["hidden_norms"]]]
    except (OSError, ValueError, TypeError, KeyError):
        return []
