"""Errors of a test as tables and pictures for the run report."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.reports.error_groups import by_temperature, cycle_by_temperature
from vestim_pl.reports.error_plots import draw_error_histogram, draw_error_over_soc, draw_recording, error_mv
from vestim_pl.reports.run_folder import RunFolder

__all__ = ["Cell", "Extreme", "Grid", "TestedErrors"]

_EVALUATION = {
    "windows": "Every window estimated from the zero state",
    "streams": "Whole recordings, the state carried from step to step",
}
_STRONGEST = 0.55  # opacity of the highest error in the grid
_TITLE = 64  # characters that fit above a figure


@dataclass(frozen=True)
class Cell:
    """RMSE in mV and the opacity of its background."""

    rmse_mv: float
    shade: str


@dataclass(frozen=True)
class Grid:
    """RMSE by drive cycle and ambient temperature; a cell is None without a recording."""

    columns: list[str]
    rows: list[tuple[str, list[Cell | None]]]


@dataclass(frozen=True)
class Extreme:
    """Mean error in mV of a recording, and the time in s of its largest one."""

    mean_mv: float
    time: float


@dataclass(frozen=True)
class TestedErrors:
    """What the test section shows.

    Attributes:
        evaluation: How the steps were estimated; empty where the configuration does not say.
        temperatures: Errors pooled by ambient temperature, see `by_temperature`.
        grid: RMSE by drive cycle and temperature; None unless there are several of both.
        histogram: Picture of the distribution of errors.
        over_soc: Picture of the error over the state of charge.
        recordings: Errors by recording, worst first, ``overall`` last.
        extremes: By recording; empty where the steps were not written.
        voltages: Picture and caption of the worst, the median and the best recording.

    """

    evaluation: str
    temperatures: list[Any]
    grid: Grid | None
    histogram: str | None
    over_soc: str | None
    recordings: list[Any]
    extremes: Mapping[str, Extreme]
    voltages: list[tuple[str, str]]

    @classmethod
    def of(cls, run: RunFolder) -> "TestedErrors | None":
        """Errors of a run; None without a test."""
        if run.errors is None:
            return None
        ranked = _ranked(run.errors)
        overall = run.errors[run.errors["recording"] == "overall"]
        return cls(
            evaluation=_EVALUATION.get(str(run.setting("sampling.evaluation")), ""),
            temperatures=list(by_temperature(run.errors).itertuples()),
            grid=_grid(run.errors),
            histogram=None if run.steps is None else draw_error_histogram(run.steps),
            over_soc=None if run.steps is None else draw_error_over_soc(run.steps),
            recordings=list(pd.concat([ranked, overall]).itertuples()),
            extremes={} if run.steps is None else _extremes(run.steps),
            voltages=[] if run.steps is None else _voltages(run.steps, ranked),
        )


def _ranked(errors: pd.DataFrame) -> pd.DataFrame:
    """Recordings, worst first; NaN counts as the worst."""
    rows = errors[errors["recording"] != "overall"]
    return rows.assign(order=rows["rmse_mv"].fillna(np.inf)).sort_values("order", ascending=False, kind="stable")


def _grid(errors: pd.DataFrame) -> Grid | None:
    frame = cycle_by_temperature(errors)
    if min(frame.shape) < 2:
        return None
    highest = float(np.nanmax(frame.to_numpy())) or 1.0
    rows = [(str(cycle), [_cell(value, highest) for value in values]) for cycle, *values in frame.itertuples()]
    return Grid([f"{degrees:g} °C" for degrees in frame.columns], rows)


def _cell(value: float, highest: float) -> Cell | None:
    if math.isnan(value):
        return None
    strength = _STRONGEST * min(value / highest, 1.0) if math.isfinite(value) else 0.0
    return Cell(value, f"{strength:.2f}")


def _extremes(steps: pd.DataFrame) -> dict[str, Extreme]:
    found = {}
    for name, group in steps.groupby("recording", sort=False):
        error, time = error_mv(group), group["time"].to_numpy(dtype=np.float64)
        worst = int(np.argmax(np.where(np.isfinite(error), np.abs(error), np.inf)))
        found[str(name)] = Extreme(float(np.mean(error)), float(time[worst]))
    return found


def _voltages(steps: pd.DataFrame, ranked: pd.DataFrame) -> list[tuple[str, str]]:
    rows: list[Any] = list(ranked[ranked["recording"].isin(steps["recording"])].itertuples())
    places = {len(rows) - 1: "Best", len(rows) // 2: "Median", 0: "Worst"} if rows else {}
    pictures = []
    for place, word in sorted(places.items()):
        row = rows[place]
        caption = f"{word}: {row.recording}, RMSE {row.rmse_mv:.2f} mV"
        title = caption if len(caption) <= _TITLE else caption[: _TITLE - 1] + "…"
        pictures.append((draw_recording(steps[steps["recording"] == row.recording], title), caption))
    return pictures
