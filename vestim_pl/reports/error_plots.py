"""Draw the figures of a test: voltage and error of a recording, distribution of errors, error over SOC."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vestim_pl.reports.figures import BLUE, GREY, ORANGE, VERMILION, data_uri, legend_above, new_figure, style

__all__ = ["draw_error_histogram", "draw_error_over_soc", "draw_recording", "error_mv"]


def error_mv(steps: pd.DataFrame) -> NDArray[np.float64]:
    """Return estimated minus measured voltage in mV, positive if the estimate is too high."""
    difference = steps["estimated"].to_numpy(dtype=np.float64) - steps["measured"].to_numpy(dtype=np.float64)
    return np.asarray(difference * 1000.0)


def draw_recording(steps: pd.DataFrame, title: str) -> str:
    """Draw measured and estimated voltage of a recording in V, and the error in mV below.

    Args:
        steps: Columns ``time`` [s], ``measured`` [V] and ``estimated`` [V] of one recording.
        title: Heading.

    Returns:
        A PNG in a ``data:`` address.

    """
    with style():
        figure = new_figure(height=4.2)
        voltage, error = figure.subplots(2, 1, sharex=True, height_ratios=(1.7, 1.0))
        time, name = _time(steps["time"].to_numpy(dtype=np.float64))
        voltage.plot(time, steps["measured"], color=GREY, linewidth=2.0, label="measured")
        voltage.plot(time, steps["estimated"], color=VERMILION, linewidth=0.8, label="estimated")
        voltage.set_ylabel("Voltage [V]")
        voltage.set_title(title, parse_math=False)  # a name may hold a dollar sign
        legend_above(voltage)
        values = error_mv(steps)
        error.plot(time, np.where(np.isfinite(values), values, np.nan), color=BLUE, linewidth=0.8)
        error.axhline(0.0, color=GREY, linewidth=0.8)
        error.set_ylabel("Error [mV]")
        error.set_xlabel(name)
        error.margins(x=0.01)
        bad = ~np.isfinite(values)
        if bad.any():
            error.set_title(f"{int(bad.sum())} of {len(values)} estimates are NaN or Inf", color=VERMILION)
        return data_uri(figure)


def draw_error_histogram(steps: pd.DataFrame) -> str | None:
    """Draw the distribution of the error of every tested step in mV; None if no error is finite.

    The outermost 0.05 % on either side is not drawn but counted in the title, because a single outlier would squeeze
    everything else into a line.
    """
    values = error_mv(steps)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.quantile(finite, (0.0005, 0.9995))
    low, high = (low, high) if high > low else (low - 1.0, high + 1.0)
    bias, p95 = float(np.mean(finite)), float(np.quantile(np.abs(finite), 0.95))
    with style():
        figure = new_figure(height=2.9)
        axes = figure.subplots()
        counts, edges = np.histogram(finite, bins=80, range=(low, high))
        axes.stairs(100.0 * counts / len(finite), edges, fill=True, color=BLUE, alpha=0.75)
        axes.axvline(0.0, color=GREY, linewidth=1.0)
        axes.axvline(bias, color=VERMILION, linewidth=1.5, label=f"mean {bias:+.2f} mV")
        for sign in (-1.0, 1.0):
            label = f"95 % within ±{p95:.1f} mV" if sign > 0 else None
            axes.axvline(sign * p95, color=ORANGE, linestyle="--", linewidth=1.3, label=label)
        outside = int(((finite < low) | (finite > high)).sum())
        axes.set_title(
            f"Error of {len(finite):,} steps" + (f"; {outside:,} lie outside the picture" if outside else "")
        )
        axes.set_xlabel("Estimated minus measured voltage [mV]")
        axes.set_ylabel("Steps [%]")
        axes.set_xlim(min(low, -p95 * 1.05), max(high, p95 * 1.05))
        axes.legend(loc="upper left")
        return data_uri(figure)


def draw_error_over_soc(steps: pd.DataFrame) -> str | None:
    """Draw mean and 5-95 % band of the error over the state of charge; None if the steps have no SOC."""
    name = next((column for column in steps if str(column).lower() == "soc"), None)
    if name is None:
        return None
    soc = steps[name].to_numpy(dtype=np.float64)
    values = error_mv(steps)
    usable = np.isfinite(soc) & np.isfinite(values)
    if not usable.any():
        return None
    bins = np.floor(np.clip(soc[usable], 0.0, 1.0 - 1e-9) * 40.0) / 40.0 + 0.0125
    grouped = pd.Series(values[usable]).groupby(bins)
    low, mean, high = grouped.quantile(0.05), grouped.mean(), grouped.quantile(0.95)
    with style():
        figure = new_figure(height=2.8)
        axes = figure.subplots()
        percent = 100.0 * mean.index.to_numpy()
        axes.fill_between(percent, low, high, color=BLUE, alpha=0.25, linewidth=0, label="5 % to 95 %")
        axes.plot(percent, mean, color=BLUE, label="mean")
        axes.axhline(0.0, color=GREY, linewidth=0.8)
        axes.set_xlabel("State of charge [%]")
        axes.set_ylabel("Error [mV]")
        axes.set_title("Error over the state of charge")
        axes.invert_xaxis()  # a discharge reads from left to right
        axes.legend(loc="best", ncols=2)
        return data_uri(figure)


def _time(seconds: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Return the time of the file in a readable unit, and the name of the axis."""
    start, span = (float(seconds[0]), float(seconds[-1] - seconds[0])) if len(seconds) else (0.0, 0.0)
    since = seconds - start if start > span else seconds  # the clock started long before
    name = f"Time since {start:.0f} s" if start > span else "Time"
    if span > 4 * 3600:
        return since / 3600.0, f"{name} [h]"
    return (since / 60.0, f"{name} [min]") if span > 300 else (since, f"{name} [s]")
