"""Draw the learning curves of a run: errors, learning rate and gradient norm over epochs, with events."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vestim_pl.reports.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    data_uri,
    legend_above,
    new_figure,
    plain_log_axis,
    style,
)
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.run_metrics import EpochAxis, curve, find_key
from vestim_pl.reports.run_status import best_validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LEARNING_RATE", "POST_CLIP", "PRE_CLIP", "draw_learning_curves"]

# logged keys of Lightning's and our own callbacks
LEARNING_RATE = (r"learning_rate", r"(train/|optimizer/)?(lr|learning_rate)", r"(lr|learning_rate)[-/].*")
PRE_CLIP = (
    r"grad(ient)?_norm/(pre|before)_clip(ping)?",
    r"grad(ient)?_norm/(pre|before).*",
    r"(train/)?grad(ient)?_norm",
)
POST_CLIP = (r"grad(ient)?_norm/(post|after)_clip(ping)?", r"grad(ient)?_norm/(post|after).*")

_EVENT_STYLES = {
    "skip": (ORANGE, "|"),
    "non_finite": (VERMILION, "X"),
    "rollback": (VERMILION, "v"),
    "recovery": (GREEN, "^"),
    "stop": ("#111827", "s"),
    "interrupt": ("#111827", "s"),
    "resume": (GREEN, ">"),
    "plateau": (PURPLE, "o"),
    "learning_rate": (PURPLE, "o"),
    "warmup": (PURPLE, "^"),
    "clip_burst": (SKY, "d"),
    "clip_burst_end": (SKY, "d"),
}
_GUIDED = ("rollback", "recovery", "non_finite", "plateau", "learning_rate", "resume")


def draw_learning_curves(run: RunFolder) -> str | None:
    """Draw the logged curves over the epochs; None without any.

    Panels, each only if its key was logged: RMSE in mV of training and validation, with the best validation and
    every non-finite value marked; learning rate; gradient norm before and after clipping; events.

    Args:
        run: The run's folder.

    Returns:
        A PNG in a ``data:`` address.

    """
    axis = EpochAxis.of(run.metrics)
    panels: list[tuple[float, Any]] = []
    if find_key(run.metrics, r"(train|val)/rmse_mv"):
        panels.append((3.2, _errors))
    elif find_key(run.metrics, r"train/loss"):
        panels.append((3.2, _loss))
    if find_key(run.metrics, *LEARNING_RATE):
        panels.append((1.3, _learning_rate))
    if find_key(run.metrics, *PRE_CLIP, *POST_CLIP):
        panels.append((1.9, _gradient_norm))
    if not panels:
        return None
    marked = _places(run.events, axis)
    if marked:
        panels.append((0.35 + 0.2 * len(marked), lambda axes, *_: _event_marks(axes, marked)))
    with style():
        heights = [height for height, _ in panels]
        figure = new_figure(height=sum(heights) + 0.6)
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (_, draw) in zip(rows, panels, strict=True):
            draw(axes, run, axis)
        _guide_lines(list(rows), run.events, axis)
        rows[-1].set_xlabel("Epoch, numbered from 0; values at the end of an epoch are at its number")
        _epoch_ticks(rows[-1], max([0.0, float(axis.epochs[-1]), *chain(*marked.values())]))
        return data_uri(figure)


def _errors(axes: "Axes", run: RunFolder, axis: EpochAxis) -> None:
    drawn = []
    for key, label, colour in (("train/rmse_mv", "training", SKY), ("val/rmse_mv", "validation", BLUE)):
        rows = curve(run.metrics, key, axis)
        if len(rows):
            marker = "o" if len(rows) < 40 else ""
            shown = rows["value"].where(np.isfinite(rows["value"]))
            axes.plot(rows["x"], shown, color=colour, marker=marker, markersize=3.5, label=label)
            drawn.append(rows.assign(colour=colour))
    finite = pd.concat(drawn)["value"]
    finite = finite[np.isfinite(finite)]
    if len(finite) and finite.min() > 0 and finite.max() / finite.min() > 4:
        plain_log_axis(axes)
    axes.set_ylabel("RMSE [mV]")
    axes.set_title("Error")
    _mark_best(axes, run, axis)
    _mark_non_finite(axes, drawn)
    legend_above(axes)


def _mark_best(axes: "Axes", run: RunFolder, axis: EpochAxis) -> None:
    best = best_validation(run.metrics)
    if best is None or not math.isfinite(best[0]):
        return
    rows = curve(run.metrics, "val/rmse_mv", axis)
    row = rows[rows["value"] == best[0]].iloc[0]
    label = f"best {best[0]:.2f} mV" + (f", epoch {best[1]}" if best[1] >= 0 else "")
    axes.plot([row["x"]], [row["value"]], marker="*", markersize=12, color=GREEN, linestyle="", label=label, zorder=5)


def _mark_non_finite(axes: "Axes", drawn: Sequence[pd.DataFrame]) -> None:
    """Mark NaN and Inf by a cross at the lower edge, outlined in the colour of the curve."""
    found = False
    for row, rows in enumerate(drawn):
        bad = rows.loc[~np.isfinite(rows["value"]), "x"]
        if len(bad):
            axes.plot(
                bad, np.full(len(bad), 0.03 + 0.05 * row), transform=axes.get_xaxis_transform(), linestyle="",
                marker="X", markersize=7, color=VERMILION, markeredgecolor=rows["colour"].iloc[0], clip_on=False,
                label=None if found else "NaN or Inf",
            )  # fmt: skip
            found = True
    if not any(np.isfinite(rows["value"]).any() for rows in drawn) and axes.get_yscale() == "linear":
        axes.set_yticks([])  # the axis has no finite value


def _loss(axes: "Axes", run: RunFolder, axis: EpochAxis) -> None:
    rows = curve(run.metrics, "train/loss", axis)
    axes.plot(rows["x"], rows["value"].where(np.isfinite(rows["value"])), color=SKY, label="training loss")
    if (rows["value"] > 0).any():
        axes.set_yscale("log")
    axes.set_ylabel("Loss [scaled units]")
    axes.set_title("Training loss; no epoch was completed")
    _mark_non_finite(axes, [rows.assign(colour=SKY)])
    legend_above(axes)


def _learning_rate(axes: "Axes", run: RunFolder, axis: EpochAxis) -> None:
    rows = curve(run.metrics, find_key(run.metrics, *LEARNING_RATE), axis)
    axes.plot(rows["x"], rows["value"], color=PURPLE, drawstyle="steps-post", marker=".", markersize=3)
    positive = rows.loc[rows["value"] > 0, "value"]
    if len(positive) and positive.max() / positive.min() > 4:
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axes.set_title("Learning rate")


def _gradient_norm(axes: "Axes", run: RunFolder, axis: EpochAxis) -> None:
    shown = []
    sides = ((PRE_CLIP, "before clipping", "#b0b5bd", 2.2), (POST_CLIP, "after clipping", GREEN, 0.9))
    for patterns, label, colour, width in sides:
        rows = curve(run.metrics, find_key(run.metrics, *patterns), axis)
        if len(rows):
            values = rows["value"].where(np.isfinite(rows["value"]) & (rows["value"] > 0))
            axes.plot(rows["x"], values, color=colour, linewidth=width, label=label)
            shown.append(rows.assign(colour=colour))
    clip = run.setting("trainer.gradient_clip_val")
    if isinstance(clip, int | float) and clip > 0:
        axes.axhline(clip, color=VERMILION, linestyle="--", linewidth=1.0, label=f"limit {clip:g}")
    plain_log_axis(axes)
    axes.set_title("Gradient norm")
    _mark_non_finite(axes, shown)
    legend_above(axes)


def _places(events: Sequence[dict[str, Any]], axis: EpochAxis) -> dict[str, list[float]]:
    """Positions of the events of each kind on the axis of epochs, in order of first appearance."""
    places: dict[str, list[float]] = {}
    for event in events:
        step, epoch = event.get("step"), event.get("epoch")
        if isinstance(step, int | float):
            x = float(axis.at(step))
            if isinstance(epoch, int | float):
                x = min(max(x, epoch - 1.0), float(epoch))  # a step counted differently stays in its epoch
            places.setdefault(event["kind"], []).append(x)
    return places


def _event_marks(axes: "Axes", places: dict[str, list[float]]) -> None:
    for row, (kind, xs) in enumerate(places.items()):
        colour, marker = _EVENT_STYLES.get(kind, (GREY, "."))
        axes.plot(xs, [row] * len(xs), linestyle="", marker=marker, markersize=6, color=colour, clip_on=False)
    axes.set_yticks(range(len(places)), [f"{kind.replace('_', ' ')} ({len(xs)})" for kind, xs in places.items()])
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.set_title("Events")


def _guide_lines(panels: Sequence["Axes"], events: Sequence[dict[str, Any]], axis: EpochAxis) -> None:
    """Draw thin lines through all panels at rollbacks and changes of the learning rate, unless there are many."""
    guided = [event for event in events if event["kind"] in _GUIDED]
    if len(guided) > 25:
        return
    for kind, xs in _places(guided, axis).items():
        for x in xs:
            for axes in panels:
                axes.axvline(x, color=_EVENT_STYLES[kind][0], linewidth=0.9, alpha=0.45, zorder=0.9)


def _epoch_ticks(axes: "Axes", last: float) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(-1.0, last + 0.02 * (last + 1.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
