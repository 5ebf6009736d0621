"""Build the figure of learning curves of a run: errors, learning rate and gradient norm over epochs, with events."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.reports.figures import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Figure,
    Panel,
    line,
    plain,
    stack,
    upright,
    value_axis,
)
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.run_metrics import EpochAxis, curve, find_key
from vestim_pl.reports.run_status import best_validation

__all__ = ["LEARNING_RATE", "POST_CLIP", "PRE_CLIP", "learning_curves"]

# logged keys of Lightning's and our own callbacks
LEARNING_RATE = (r"learning_rate", r"(train/|optimizer/)?(lr|learning_rate)", r"(lr|learning_rate)[-/].*")
PRE_CLIP = (
    r"grad(ient)?_norm/(pre|before)_clip(ping)?",
    r"grad(ient)?_norm/(pre|before).*",
    r"(train/)?grad(ient)?_norm",
)
POST_CLIP = (r"grad(ient)?_norm/(post|after)_clip(ping)?", r"grad(ient)?_norm/(post|after).*")

_EVENT_STYLES = {
    "skip": (ORANGE, "line-ns-open"),
    "non_finite": (VERMILION, "x"),
    "rollback": (VERMILION, "triangle-down"),
    "recovery": (GREEN, "triangle-up"),
    "stop": (INK, "square"),
    "interrupt": (INK, "square"),
    "resume": (GREEN, "triangle-right"),
    "plateau": (PURPLE, "circle"),
    "learning_rate": (PURPLE, "circle"),
    "warmup": (PURPLE, "triangle-up"),
    "clip_burst": (SKY, "diamond"),
    "clip_burst_end": (SKY, "diamond"),
}
_GUIDED = ("rollback", "recovery", "non_finite", "plateau", "learning_rate", "resume")
_MOST_GUIDES = 25
_MOST_POINTS = 4000  # of a curve; of more, every n-th is drawn
_REASON = 120  # characters of a reason that are shown beside its event


def learning_curves(run: RunFolder) -> Figure | None:
    """Arrange the logged curves over the epochs; None without any.

    Panels, each only if its key was logged: RMSE in mV of training and validation, with the best validation and
    every non-finite value marked; learning rate; gradient norm before and after clipping; events.

    Args:
        run: The run's folder.

    """
    axis = EpochAxis.of(run.metrics)
    panels = [
        panel
        for panel in (_errors(run, axis), _learning_rate(run, axis), _gradient_norm(run, axis))
        if panel is not None
    ]
    if not panels:
        return None
    placed = _placed(run.events, axis)
    if placed:
        panels.append(_event_marks(placed))
    last = max([0.0, float(axis.epochs[-1]), *(x for events in placed.values() for x, _ in events)])
    margin = 0.02 * (last + 1.0)
    epochs = {"title": {"text": "Epoch"}, "range": [-1.0 - margin, last + margin], "hoverformat": ".2f"}
    figure = stack(panels, epochs)
    figure["layout"]["shapes"] = [*_limit(run, panels), *_guides(placed)]
    return figure


def _errors(run: RunFolder, axis: EpochAxis) -> Panel | None:
    """RMSE, or the loss of a run that ended before it had one."""
    keys = [("train/rmse_mv", "training", SKY), ("val/rmse_mv", "validation", BLUE)]
    title = "RMSE [mV]"
    if find_key(run.metrics, r"(train|val)/rmse_mv") is None:
        keys, title = [("train/loss", "training loss", SKY)], "Training loss [scaled units]; no epoch was completed"
    drawn = [(label, color, rows) for key, label, color in keys if len(rows := _thinned(curve(run.metrics, key, axis)))]
    if not drawn:
        return None
    traces = [
        line(rows["x"], rows["value"], label, color, mode="lines+markers" if len(rows) < 40 else "lines",
             marker={"size": 5}, hovertemplate="%{y:.4g}")
        for label, color, rows in drawn
    ]  # fmt: skip
    if title.startswith("RMSE"):
        traces += _best(run, axis)
    values = pd.concat([rows["value"] for _, _, rows in drawn])
    return Panel(
        300, title, traces, value_axis(values, 300), _non_finite_marks([(color, rows) for _, color, rows in drawn])
    )


def _best(run: RunFolder, axis: EpochAxis) -> list[dict[str, Any]]:
    best = best_validation(run.metrics)
    if best is None or not math.isfinite(best[0]):
        return []
    rows = curve(run.metrics, "val/rmse_mv", axis)
    row = rows[rows["value"] == best[0]].iloc[0]
    label = f"best {best[0]:.2f} mV" + (f", epoch {best[1]}" if best[1] >= 0 else "")
    marker = {"symbol": "star", "size": 14, "color": GREEN}
    return [line([row["x"]], [row["value"]], label, GREEN, mode="markers", marker=marker, hoverinfo="skip")]


def _non_finite_marks(drawn: Sequence[tuple[str, pd.DataFrame]]) -> list[dict[str, Any]]:
    """Mark NaN and Inf by a cross at the lower edge, outlined in the colour of the curve."""
    traces: list[dict[str, Any]] = []
    for place, (color, rows) in enumerate(drawn):
        bad = rows[~np.isfinite(rows["value"])]
        if len(bad):
            marker = {"symbol": "x", "size": 9, "color": VERMILION, "line": {"width": 1.5, "color": color}}
            traces.append(
                line(bad["x"], np.full(len(bad), 0.03 + 0.05 * place), "NaN or Inf", VERMILION, mode="markers",
                     marker=marker, showlegend=not traces, text=[str(value) for value in bad["value"]],
                     hovertemplate="%{text}")
            )  # fmt: skip
    return traces


def _learning_rate(run: RunFolder, axis: EpochAxis) -> Panel | None:
    rows = _thinned(curve(run.metrics, find_key(run.metrics, *LEARNING_RATE), axis))
    if rows.empty:
        return None
    shape = {"shape": "hv"}
    trace = line(
        rows["x"], rows["value"], "learning rate", PURPLE, line=shape, showlegend=False, hovertemplate="%{y:.3g}"
    )
    return Panel(110, "Learning rate", [trace], value_axis(rows.loc[rows["value"] > 0, "value"], 110))


def _gradient_norm(run: RunFolder, axis: EpochAxis) -> Panel | None:
    drawn = []
    for patterns, label, color, width in (
        (PRE_CLIP, "before clipping", GREY, 2.2), (POST_CLIP, "after clipping", GREEN, 1.0)
    ):  # fmt: skip
        rows = _thinned(curve(run.metrics, find_key(run.metrics, *patterns), axis))
        if len(rows):
            drawn.append((label, color, width, rows))
    if not drawn:
        return None
    traces = [
        line(rows["x"], rows["value"].where(rows["value"] > 0), f"norm {label}", color, line={"width": width},
             hovertemplate="%{y:.3g}")
        for label, color, width, rows in drawn
    ]  # fmt: skip
    marks = _non_finite_marks([(color, rows) for _, color, _, rows in drawn])
    values = pd.concat([rows["value"] for *_, rows in drawn])
    return Panel(170, "Gradient norm", traces, value_axis(values, 170, always_log=True), marks)


def _limit(run: RunFolder, panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """A dashed line at the limit of the gradient norm."""
    clip = run.setting("trainer.gradient_clip_val")
    place = next((place for place, panel in enumerate(panels, start=1) if panel.title == "Gradient norm"), None)
    if place is None or isinstance(clip, bool) or not isinstance(clip, int | float) or clip <= 0:
        return []
    style = {"color": VERMILION, "width": 1, "dash": "dash"}
    label = {"text": f"limit {clip:g}", "textposition": "end", "yanchor": "bottom", "font": {"color": VERMILION}}
    yref = "y" if place == 1 else f"y{place}"
    return [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": yref, "y0": clip, "y1": clip, "line": style,
         "label": label}
    ]  # fmt: skip


def _placed(events: Sequence[dict[str, Any]], axis: EpochAxis) -> dict[str, list[tuple[float, str]]]:
    """Places on the axis of epochs and reasons of the events of each kind, in order of first appearance."""
    placed: dict[str, list[tuple[float, str]]] = {}
    for event in events:
        step, epoch = event.get("step"), event.get("epoch")
        if isinstance(step, int | float):
            x = float(axis.at(step))
            if isinstance(epoch, int | float):
                x = min(max(x, epoch - 1.0), float(epoch))  # a step counted differently stays in its epoch
            reason = str(event["reason"])
            shown = reason if len(reason) <= _REASON else reason[: _REASON - 1] + "…"
            placed.setdefault(event["kind"], []).append((x, f"step {step}: {shown}"))
    return placed


def _event_marks(placed: dict[str, list[tuple[float, str]]]) -> Panel:
    rows = {kind: f"{kind.replace('_', ' ')} ({len(events)})" for kind, events in placed.items()}
    traces = []
    for place, (kind, events) in enumerate(placed.items()):
        color, symbol = _EVENT_STYLES.get(kind, (GREY, "circle"))
        marker = {"symbol": symbol, "size": 10, "color": color, "line": {"width": 1.5, "color": color}}
        traces.append(
            line([x for x, _ in events], [place] * len(events), kind, color, mode="markers", marker=marker,
                 showlegend=False, text=[plain(reason) for _, reason in events], hovertemplate="%{text}",
                 cliponaxis=False)
        )  # fmt: skip
    axis = {
        "tickvals": list(range(len(rows))), "ticktext": [plain(name) for name in rows.values()],
        "range": [len(rows) - 0.4, -0.6], "fixedrange": True, "zeroline": False, "showgrid": False,
    }  # fmt: skip
    return Panel(40 + 24 * len(rows), "Events", traces, axis)


def _guides(placed: dict[str, list[tuple[float, str]]]) -> list[dict[str, Any]]:
    """Thin lines through all panels at rollbacks and changes of the learning rate, unless there are many."""
    guided = {kind: events for kind, events in placed.items() if kind in _GUIDED}
    if sum(map(len, guided.values())) > _MOST_GUIDES:
        return []
    return [
        upright(x, _EVENT_STYLES[kind][0], opacity=0.45, layer="below")
        for kind, events in guided.items()
        for x, _ in events
    ]


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """Every n-th row of a long curve, and all non-finite ones."""
    every = -(-len(rows) // _MOST_POINTS)
    if every <= 1:
        return rows
    return rows[(np.arange(len(rows)) % every == 0) | ~np.isfinite(rows["value"])]
