"""The parts of a run report that tell of the test: where the estimate errs, and what that looks like."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.reports.error_groups import by_temperature, cycle_by_temperature
from vestim_pl.reports.error_plots import draw_error_histogram, draw_error_over_soc, draw_recording, error_mv
from vestim_pl.reports.markup import Html, figure, number, section, table, text
from vestim_pl.reports.run_folder import RunFolder

__all__ = ["recordings", "tables", "voltages"]

_ERROR_HEADS = ("steps", "RMSE [mV]", "MAE [mV]", "max [mV]")
_EVALUATION = {
    "windows": "every window estimated from the zero state",
    "streams": "whole recordings, the state carried from step to step",
}


def tables(run: RunFolder) -> Html:
    """Errors by ambient temperature, by drive cycle, and how they are distributed."""
    if run.errors is None:
        return Html("")
    grouped = by_temperature(run.errors)
    temperatures = [
        (f"{row.temperature:g} °C", number(row.recordings, 0), *_error_cells(row)) for row in _rows(grouped)
    ]
    parts: list[object] = [_evaluated(run)]
    if temperatures:
        parts.append(table(("ambient temperature", "recordings", *_ERROR_HEADS), temperatures))
        parts.append(_cycles(run.errors))
    if run.steps is not None:
        parts.append(figure(draw_error_histogram(run.steps), "Distribution of the error over all tested steps"))
        parts.append(figure(draw_error_over_soc(run.steps), "Error over the state of charge"))
    return section("Test", *parts)


def recordings(run: RunFolder) -> Html:
    """Errors by recording, the worst first, the overall row last."""
    if run.errors is None:
        return Html("")
    ranked = _ranked(run.errors)
    overall = run.errors[run.errors["recording"] == "overall"]
    extra = _from_steps(run.steps)
    heads = ("recording", *_ERROR_HEADS, *(("mean [mV]", "max at [s]") if extra else ()))
    rows = [
        (row.recording, *_error_cells(row), *extra.get(str(row.recording), (Html(""), Html("")) if extra else ()))
        for row in _rows(pd.concat([ranked, overall]))
    ]
    note = "mean: estimated minus measured; max at: time of the largest error, as in the file" if extra else ""
    last = "total" if len(overall) else ""
    return section(
        "By recording", table(heads, rows, last_row=last), Html(f"<p><small>{note}</small></p>") if note else ""
    )


def voltages(run: RunFolder) -> Html:
    """Measured and estimated voltage of the worst, the median and the best recording."""
    if run.errors is None or run.steps is None:
        return Html("")
    present = set(run.steps["recording"])
    ranked = [row for row in _rows(_ranked(run.errors)) if row.recording in present]
    places = {len(ranked) - 1: "Best", len(ranked) // 2: "Median", 0: "Worst"} if ranked else {}
    figures = []
    for place, word in sorted(places.items()):
        row: Any = ranked[place]
        title = f"{word}: {row.recording}, RMSE {row.rmse_mv:.2f} mV"
        steps = run.steps[run.steps["recording"] == row.recording]
        figures.append(figure(draw_recording(steps, _shortened(title)), title))
    return section("Voltage", *figures)


def _evaluated(run: RunFolder) -> Html:
    way = _EVALUATION.get(str(run.setting("sampling.evaluation")))
    return (
        Html(f"<p>{text(way[0].upper() + way[1:])}. Error is estimated minus measured voltage.</p>")
        if way
        else Html("")
    )


def _error_cells(row: Any) -> tuple[Html, ...]:
    return (
        number(row.steps, 0),
        number(row.rmse_mv, 2),
        number(row.mae_mv, 2),
        number(row.max_error_mv, 1),
    )


def _cycles(errors: pd.DataFrame) -> Html:
    """RMSE by drive cycle and temperature, shaded by its size; only where both have more than one."""
    grid = cycle_by_temperature(errors)
    if min(grid.shape) < 2:
        return Html("")
    highest = float(np.nanmax(grid.to_numpy())) or 1.0
    rows = [(cycle, *(_shaded(value, highest) for value in values)) for cycle, *values in grid.itertuples()]
    heads = ("RMSE [mV]", *(f"{degrees:g} °C" for degrees in grid.columns))
    return table(heads, rows, kind="grid")


def _shaded(value: float, highest: float) -> Html:
    if math.isnan(value):
        return Html("")
    strength = 0.55 * min(value / highest, 1.0) if math.isfinite(value) else 0.0
    return Html(f'<span style="--shade:{strength:.2f}">{number(value, 1)}</span>')


def _ranked(errors: pd.DataFrame) -> pd.DataFrame:
    """Recordings from the worst to the best; a NaN is the worst of all."""
    rows = errors[errors["recording"] != "overall"]
    return rows.assign(order=rows["rmse_mv"].fillna(np.inf)).sort_values("order", ascending=False, kind="stable")


def _from_steps(steps: pd.DataFrame | None) -> dict[str, tuple[Html, Html]]:
    """Mean error and the time of the largest one, by recording."""
    found = {}
    for name, group in steps.groupby("recording", sort=False) if steps is not None else ():
        error, time = error_mv(group), group["time"].to_numpy(dtype=np.float64)
        worst = int(np.argmax(np.where(np.isfinite(error), np.abs(error), np.inf)))
        found[str(name)] = (number(float(np.mean(error)), 2), number(time[worst], 0))
    return found


def _shortened(title: str, length: int = 64) -> str:
    """A heading that fits the figure."""
    return title if len(title) <= length else title[: length - 1] + "…"


def _rows(frame: pd.DataFrame) -> Iterable[Any]:
    """Rows with their columns as attributes."""
    return frame.itertuples()
