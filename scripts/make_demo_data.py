"""Simulate the demo data set that ships with the package.

``python scripts/make_demo_data.py`` drives a simulated LG M50 cell through the trips of ``demo_data/plan.py``, writes
one Parquet file per recording, and updates the tables of the data card in the same folder. It needs the ``demo``
extra (PyBaMM). The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path

from demo_data import card, cell, plots, tester
from demo_data.driving import make_drive
from demo_data.plan import AMBIENTS_DEGC, SEED, TRIPS, Trip, recording_name, trip_rng
from demo_data.vehicle import cell_current, cell_power

__all__ = ["main"]

DEMO = Path(__file__).resolve().parents[1] / "vestim_pl" / "data" / "demo"


@dataclass(frozen=True)
class Settings:
    """What all recordings share."""

    out: Path
    seed: int
    model: str
    capacity_ah: float


def make_recording(job: tuple[Trip, int], settings: Settings) -> str:
    """Drive, simulate, measure and write one recording; return a one-line summary."""
    trip, ambient_degc = job
    started = time.perf_counter()
    name, capacity = recording_name(trip, ambient_degc), settings.capacity_ah
    drive = make_drive(trip_rng(settings.seed, trip.name), trip.character, trip.minutes * 60)
    current = cell_current(cell_power(drive, ambient_degc), ambient_degc, trip.start_soc, capacity)
    trace = cell.simulate(current, ambient_degc, trip.start_soc, capacity, settings.model)
    current = current[: len(trace.voltage)]
    soc = tester.count_charge(current, trip.start_soc, capacity)
    columns = tester.record(trip_rng(settings.seed, name), current, trace.voltage, trace.temp_degc, soc)
    metadata = {
        "source": f"simulated: PyBaMM {settings.model}, {cell.PARAMETERS}, scripts/make_demo_data.py",
        "pybamm": version("pybamm"),
        "seed": str(settings.seed),
        "capacity_ah": f"{capacity:.4f}",
    }
    tester.write_recording(settings.out / trip.split.value / f"{name}.parquet", columns, metadata)
    end = "lower cut-off" if trace.reached_cutoff else "end of trip"
    return f"{name}: {len(current)} s to SOC {soc[-1]:.3f}, {end}, {time.perf_counter() - started:.0f} s"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEMO, help="folder that gets train/, val/ and test/")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of every trip and of the sensor noise")
    parser.add_argument("--model", default=cell.MODEL, choices=["DFN", "SPMe"], help="SPMe: faster, wrong in the cold")
    parser.add_argument("--only", default="", help="make only the recordings whose name contains this")
    parser.add_argument("--plot", type=Path, help="draw the recordings of --out into this folder, simulate nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="recordings simulated at a time")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the data set."""
    options = parse_arguments(arguments)
    if options.plot is not None:
        plots.draw_all(options.out, options.plot)
        return
    started = time.perf_counter()
    capacity_ah = cell.measure_capacity(options.model)
    print(f"C/20 capacity at {cell.REFERENCE_DEGC:.0f} degC: {capacity_ah:.4f} Ah")
    settings = Settings(options.out, options.seed, options.model, capacity_ah)
    jobs = [job for job in product(TRIPS, AMBIENTS_DEGC) if options.only in recording_name(*job)]
    with ProcessPoolExecutor(options.jobs) as pool:
        for line in pool.map(partial(make_recording, settings=settings), jobs):
            print(line, flush=True)
    card.refresh(options.out)
    print(f"{len(jobs)} recordings in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
