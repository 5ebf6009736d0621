"""Pictures of the recordings, to check them before training."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from demo_data.plan import AMBIENTS_DEGC, TRIPS, Trip, recording_name

__all__ = ["draw_all", "draw_trip"]

_PANELS = (("Current", "current [A]"), ("Voltage", "voltage [V]"), ("Temp", "temperature rise [K]"), ("SOC", "SOC"))
_COLOURS = ("tab:blue", "tab:cyan", "tab:green", "tab:orange", "tab:red")


def draw_trip(data: Path, trip: Trip, target: Path, seconds: slice = slice(None)) -> None:
    """Draw one trip at all its temperatures, one panel a column.

    Args:
        data: Folder with train/, val/ and test/.
        trip: The trip.
        target: PNG file to write.
        seconds: Part of the recording to draw.
    """
    figure, axes = plt.subplots(len(_PANELS), 1, figsize=(14, 12), sharex=True, layout="constrained")
    for ambient, colour in zip(AMBIENTS_DEGC, _COLOURS, strict=True):
        path = data / trip.split.value / f"{recording_name(trip, ambient)}.parquet"
        if not path.exists():
            continue
        frame = pd.read_parquet(path).iloc[seconds]
        frame["Temp"] -= ambient
        for axis, (column, label) in zip(axes, _PANELS, strict=True):
            axis.plot(frame["Time"], frame[column], color=colour, linewidth=0.7, label=f"{ambient} degC")
            axis.set_ylabel(label)
            axis.grid(alpha=0.3)
    axes[1].legend(loc="lower left", ncols=len(AMBIENTS_DEGC))
    axes[-1].set_xlabel("time [s]")
    figure.suptitle(f"{trip.split.value}: {trip.name}")
    figure.savefig(target, dpi=80)
    plt.close(figure)


def draw_all(data: Path, target: Path) -> None:
    """Draw every trip, whole and from close by, into a folder."""
    target.mkdir(parents=True, exist_ok=True)
    for trip in TRIPS:
        draw_trip(data, trip, target / f"{trip.name}.png")
        draw_trip(data, trip, target / f"{trip.name}_close.png", slice(300, 600))
