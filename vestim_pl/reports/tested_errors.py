"""Errors of a test as tables and figures for the run report."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.reports.compared_checkpoints import ComparedCheckpoints, mean_errors
from vestim_pl.reports.error_figures import condition_figure, correlation_figure, error_histogram, error_mv
from vestim_pl.reports.error_groups import by_temperature, cycle_by_temperature
from vestim_pl.reports.errors_by import CONDITIONS, errors_by, implied_capacity, interval_coverage
from vestim_pl.reports.figures import Figure
from vestim_pl.reports.recording_traces import recording_traces
from vestim_pl.reports.run_folder import RunFolder

__all__ = ["Cell", "Condition", "Extreme", "Grid", "TestedErrors"]

_EVALUATION = {
    "windows": "Every window estimated from the zero state",
    "streams": "Whole recordings, the state carried from step to step",
}
_TITLES = {
    "temperature": ("Error by temperature", "Temperature [°C]"),
    "soc": ("Error by state of charge", "SOC [%]"),
    "current": ("Error by current", "Current, discharge negative [A]"),
    "c_rate": ("Error by C-rate", "C-rate, charge or discharge"),
    "outside": ("Error by training range", "Features inside or outside the range of the training"),
}
_STRONGEST = 0.55  # opacity of the highest error in the grid


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
class Condition:
    """Errors by one quantity: its name in `errors_by`, a heading, and the rows of the table."""

    by: str
    title: str
    rows: list[Any]


@dataclass(frozen=True)
class TestedErrors:
    """What the test sections show.

    Attributes:
        evaluation: How the steps were estimated; empty where the configuration does not say.
        compared: Checkpoints side by side; None with one. Everything by recording is then a mean over them.
        temperatures: Errors pooled by ambient temperature, see `by_temperature`.
        grid: RMSE by drive cycle and temperature; None unless there are several of both.
        conditions: Errors by measured temperature, SOC, current and C-rate, where the steps have these.
        correlated: Rows of the autocorrelation of the error.
        capacity: Capacity in Ah behind the C-rate; None where there is none.
        coverage: Share of steps within their interval, by checkpoint; empty without intervals.
        recordings: Errors by recording, worst first, ``overall`` last.
        extremes: By recording; empty where the steps were not written.
        traces: From `recording_traces`.
        plots: Figures by their name.

    """

    evaluation: str
    compared: ComparedCheckpoints | None
    temperatures: list[Any]
    grid: Grid | None
    conditions: list[Condition]
    correlated: list[Any]
    capacity: float | None
    coverage: Mapping[str, float]
    recordings: list[Any]
    extremes: Mapping[str, Extreme]
    traces: dict[str, Any] | None
    plots: Mapping[str, Figure]

    @classmethod
    def of(cls, run: RunFolder) -> "TestedErrors | None":
        """Errors of a run; None without a test."""
        if run.errors is None:
            return None
        errors = mean_errors(run.errors)
        ranked = _ranked(errors)
        steps = run.steps if run.steps is not None and len(run.steps) else None
        table = pd.DataFrame({"by": []}) if steps is None else errors_by(steps)
        by = {name: table[table["by"] == name] for name in (*CONDITIONS, "lag")}
        return cls(
            evaluation=_EVALUATION.get(str(run.setting("sampling.evaluation")), ""),
            compared=ComparedCheckpoints.of(run.errors),
            temperatures=list(by_temperature(errors).itertuples()),
            grid=_grid(errors),
            conditions=[
                Condition(name, _TITLES[name][0], list(by[name].itertuples()))
                for name in CONDITIONS
                if len(by[name]) > 1
            ],
            correlated=list(by["lag"].itertuples()),
            capacity=None if steps is None else implied_capacity(steps),
            coverage={} if steps is None else interval_coverage(steps),
            recordings=list(pd.concat([ranked, errors[errors["recording"] == "overall"]]).itertuples()),
            extremes={} if steps is None or "checkpoint" in steps else _extremes(steps),
            traces=None if steps is None else recording_traces(steps, list(ranked["recording"])),
            plots={} if steps is None else _plots(steps, by),
        )


def _plots(steps: pd.DataFrame, by: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    plots = {f"by_{name}": condition_figure(by[name], *_TITLES[name]) for name in CONDITIONS if len(by[name]) > 1}
    if histogram := error_histogram(steps):
        plots["histogram"] = histogram
    if len(by["lag"]):
        plots["correlation"] = correlation_figure(by["lag"])
    return plots


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
