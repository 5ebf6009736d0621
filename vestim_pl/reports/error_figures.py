"""Build the figures of a test: distribution of errors, errors by condition, autocorrelation of the error."""

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vestim_pl.reports.error_autocorrelation import decay_time
from vestim_pl.reports.figures import BLUE, GREY, ORANGE, PALETTE, VERMILION, Figure, line, numbers, plain, upright

__all__ = ["condition_figure", "correlation_figure", "error_histogram", "error_mv"]

_HEIGHT = 320
_BINS = 80
_UNIT = re.compile(r"\s*\(.*\)| (?:°C|%|A|C)(?= |$)")


def error_mv(steps: pd.DataFrame) -> NDArray[np.float64]:
    """Return estimated minus measured voltage in mV, positive if the estimate is too high."""
    difference = steps["estimated"].to_numpy(dtype=np.float64) - steps["measured"].to_numpy(dtype=np.float64)
    return np.asarray(difference * 1000.0)


def error_histogram(steps: pd.DataFrame) -> Figure | None:
    """Arrange the distribution of the error of every tested step in mV; None if no error is finite.

    The outermost 0.05 % on either side is not drawn but counted in the title, because a single outlier would squeeze
    everything else into a line.

    Args:
        steps: Columns ``measured`` and ``estimated`` [V]; optional ``checkpoint``: one curve each.

    """
    parts = _by_checkpoint(steps)
    errors = [(name, values[np.isfinite(values)]) for name, part in parts if len(values := error_mv(part))]
    finite = np.concatenate([values for _, values in errors]) if errors else np.empty(0)
    if not len(finite):
        return None
    low, high = np.quantile(finite, (0.0005, 0.9995))
    low, high = (low, high) if high > low else (low - 1.0, high + 1.0)
    edges = np.linspace(low, high, _BINS + 1)
    middle = (edges[1:] + edges[:-1]) / 2.0
    outside = int(((finite < low) | (finite > high)).sum())
    title = f"Error of {len(finite):,} steps" + (f"; {outside:,} lie outside the picture" if outside else "")
    data, shapes = [], [upright(0.0, GREY)]
    for place, (name, values) in enumerate(errors):
        share = 100.0 * np.histogram(values, bins=edges)[0] / max(1, len(values))
        if len(errors) > 1:
            data.append(line(middle, share, name, PALETTE[place % len(PALETTE)], line={"shape": "hvh"}))
            continue
        bias, p95 = float(np.mean(values)), float(np.quantile(np.abs(values), 0.95))
        data += [
            {"type": "bar", "x": numbers(middle), "y": numbers(share), "marker": {"color": BLUE}, "showlegend": False,
             "name": "share", "hovertemplate": "%{x:.1f} mV: %{y:.2f} %<extra></extra>"},
            _key(f"mean {bias:+.2f} mV", VERMILION, "solid"),
            _key(f"95 % within ±{p95:.1f} mV", ORANGE, "dash"),
        ]  # fmt: skip
        shapes.append(upright(bias, VERMILION, line={"width": 2}))
        shapes += [upright(sign * p95, ORANGE, line={"width": 2, "dash": "dash"}) for sign in (-1.0, 1.0)]
    layout = _layout(title, "Estimated minus measured voltage [mV]", "Steps [%]")
    return {"data": data, "layout": {**layout, "bargap": 0, "shapes": shapes}}


def condition_figure(table: pd.DataFrame, title: str, axis: str) -> Figure:
    """Arrange RMSE, and mean with 5-95 % range of the error, over the bands of one condition.

    Args:
        table: Rows of one ``by`` of `errors_by`.
        title: Heading.
        axis: Name of the quantity, with its unit.

    """
    data: list[dict[str, Any]] = []
    if "checkpoint" in table:
        for place, (name, rows) in enumerate(table.groupby("checkpoint", sort=False)):
            data.append(_bars(rows, str(name), PALETTE[place % len(PALETTE)]))
    else:
        mean = table["mean_mv"].to_numpy(np.float64)
        reach = {
            "type": "data", "symmetric": False, "thickness": 2, "width": 0, "color": VERMILION,
            "array": numbers(table["p95_mv"] - mean), "arrayminus": numbers(mean - table["p5_mv"]),
        }  # fmt: skip
        data = [
            _bars(table, "RMSE", BLUE),
            {"type": "scatter", "mode": "markers", "x": _groups(table), "y": numbers(mean), "error_y": reach,
             "marker": {"color": VERMILION, "size": 8}, "name": "mean, 5 to 95 %",
             "customdata": [numbers(pair) for pair in table[["p5_mv", "p95_mv"]].to_numpy()],
             "hovertemplate": "mean %{y:.1f} mV, from %{customdata[0]:.1f} to %{customdata[1]:.1f}"},
        ]  # fmt: skip
    layout = _layout(title, axis, "Error [mV]")
    bands = table.drop_duplicates("group")
    names = _groups(bands)
    layout["xaxis"] |= {
        "type": "category", "tickangle": 0, "tickfont": {"size": 10.5}, "tickvals": names,
        "ticktext": [_tick(name) for name in names],
        "categoryorder": "array", "categoryarray": _groups(bands.sort_values("low")),
    }  # fmt: skip
    return {"data": data, "layout": {**layout, "hovermode": "x unified", "barmode": "group"}}


def correlation_figure(table: pd.DataFrame) -> Figure:
    """Arrange the autocorrelation of the error over the lag.

    Args:
        table: Rows of ``by`` ``lag`` of `errors_by`.

    """
    parts = list(table.groupby("checkpoint", sort=False)) if "checkpoint" in table else [("", table)]
    data, shapes = [], []
    for place, (name, rows) in enumerate(parts):
        lags = rows.rename(columns={"low": "lag"})
        hover = "%{x} s: %{y:.2f}<extra></extra>" if len(parts) == 1 else "%{y:.2f}"
        color = BLUE if len(parts) == 1 else PALETTE[place % len(PALETTE)]
        data.append(
            line(lags["lag"], lags["autocorrelation"], str(name), color, mode="lines+markers", marker={"size": 5},
                 hovertemplate=hover, showlegend=len(parts) > 1)
        )  # fmt: skip
        decay = decay_time(lags)
        if decay is not None and len(parts) == 1:
            label = {
                "text": f"1/e after {decay:.3g} s", "textposition": "end", "textangle": 0, "xanchor": "left",
                "yanchor": "top", "padding": 4, "font": {"color": VERMILION},
            }  # fmt: skip
            shapes.append(upright(decay, VERMILION, label=label))
    layout = _layout("Autocorrelation of the error", "Lag [s]", "")
    layout["xaxis"] |= {"type": "log", "exponentformat": "none"}
    layout["yaxis"] |= {"range": [min(-0.1, float(table["autocorrelation"].min()) - 0.05), 1.05]}
    return {"data": data, "layout": {**layout, "shapes": shapes}}


def _by_checkpoint(steps: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if "checkpoint" not in steps:
        return [("", steps)]
    return [(str(name), part) for name, part in steps.groupby("checkpoint", sort=False, observed=True)]


def _groups(table: pd.DataFrame) -> list[str]:
    return [plain(group) for group in table["group"]]


def _tick(group: str) -> str:
    """Name a band in two short lines without its unit, which the axis has."""
    return _UNIT.sub("", group).replace(" ", "<br>", 1)


def _bars(table: pd.DataFrame, name: str, color: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "x": _groups(table),
        "y": numbers(table["rmse_mv"]),
        "name": plain(name),
        "marker": {"color": color},
        "hovertemplate": "%{y:.2f} mV",
    }


def _key(name: str, color: str, dash: str) -> dict[str, Any]:
    """An entry of the legend for lines that are shapes."""
    return line([np.nan], [np.nan], name, color, line={"width": 2, "dash": dash}, hoverinfo="skip")


def _layout(title: str, x: str, y: str) -> dict[str, Any]:
    heading = {"text": title, "x": 0.02, "xanchor": "left", "y": 0.985, "yanchor": "top", "font": {"size": 13.5}}
    return {
        "height": _HEIGHT,
        "title": heading,
        "margin": {"t": 58},
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": y}},
    }
