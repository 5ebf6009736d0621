"""Measure the resident memory of the data against rows and lookback, for our storage and for materialised windows.

    python scripts/benchmarks/memory.py                        # 1 minute
    python scripts/benchmarks/memory.py --quick

Each point is a separate process that reads recordings and gathers some batches of windows. The result is its peak
memory above that of a process that only imports the same modules. A row of the files has five float32 (time, current,
voltage, temperature, SOC), which are 20 bytes. The table shows the slope over the rows in multiples of that. The
reference has the same recordings as materialised windows.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import common
import numpy as np
import pandas as pd

COLUMNS = ("Time", "Current", "Voltage", "Temp", "SOC")
RAW_BYTES = 4 * len(COLUMNS)
BATCHES = 20
MEBIBYTE = 2**20


def peak_bytes() -> int:
    """Return the peak resident memory of this process.

    Linux's own count where there is one: ``ru_maxrss`` starts from the peak of the process that started this one.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def work(case: dict[str, Any]) -> None:
    """Do the work of one process, whose peak is then reported."""
    import torch
    from reference_loop import materialise_windows
    from torch.utils.data import DataLoader, TensorDataset

    from vestim_pl.data import VoltageDataModule, WindowSampling

    torch.set_num_threads(1)  # each further thread would add its own stack and arena
    if case["kind"] == "import":
        return
    sampling = WindowSampling(lookback=case["lookback"], batch_size=64)
    datamodule = VoltageDataModule(case["root"], sampling, splits=["train"])
    if case["kind"] == "ours":
        for batch in islice(datamodule.train_dataloader(), BATCHES):
            batch.inputs.sum()
        return
    table = datamodule.table("train")
    windows = materialise_windows(table.inputs, table.target, table.borders, case["lookback"], horizon=1)
    for inputs, _ in islice(DataLoader(TensorDataset(*windows), batch_size=64, shuffle=True), BATCHES):
        inputs.sum()


def peak_of(kind: str, root: Path | str = "", lookback: int = 0) -> int:
    """Return the peak of a process of that kind, in bytes."""
    case = json.dumps({"kind": kind, "root": str(root), "lookback": lookback})
    done = subprocess.run(
        [sys.executable, __file__, "--worker", case], check=True, stdout=subprocess.PIPE, text=True, timeout=600
    )
    return int(done.stdout.splitlines()[-1])


def write_recordings(root: Path, rows: int, rows_a_file: int) -> Path:
    """Write a folder of random recordings with the given number of rows in total."""
    (root / "train").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index, first in enumerate(range(0, rows, rows_a_file)):
        count = min(rows_a_file, rows - first)
        values = generator.random((count, len(COLUMNS)), dtype=np.float32)
        frame = pd.DataFrame(values, columns=list(COLUMNS))
        frame["Time"] = np.arange(count, dtype=np.float32)
        frame["Voltage"] += 3.0
        frame.to_parquet(root / "train" / f"{index:04d}.parquet", index=False)
    return root


def slope(rows: Sequence[int], peaks: Sequence[float]) -> float:
    """Return the bytes a row, by least squares over the points, in multiples of a row in the files."""
    return float(np.polyfit(rows, peaks, 1)[0]) / RAW_BYTES


def measure(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure our points over rows and lookback, then those of the reference."""
    plans = {
        "ours": [(rows, options.lookbacks[0]) for rows in options.rows]
        + [(options.rows[0], lookback) for lookback in options.lookbacks[1:]],
        "reference": [(rows, options.lookbacks[0]) for rows in options.reference_rows]
        + [(options.reference_rows[0], lookback) for lookback in options.lookbacks[1:]],
    }
    roots = {
        rows: write_recordings(folder / str(rows), rows, options.rows_a_file)
        for rows in {*options.rows, *options.reference_rows}
    }
    start = peak_of("import")
    return [
        {
            "case": kind,
            "rows": rows,
            "lookback": lookback,
            "rows in files [MiB]": rows * RAW_BYTES / MEBIBYTE,
            "peak above import [MiB]": (peak_of(kind, roots[rows], lookback) - start) / MEBIBYTE,
        }
        for kind, points in plans.items()
        for rows, lookback in points
    ]


def summarise(rows: list[dict[str, Any]], kind: str, lookback: int) -> dict[str, float]:
    """Return the slope over the rows, and the growth from the shortest to the longest lookback."""
    own = [row for row in rows if row["case"] == kind]
    over_rows = [row for row in own if row["lookback"] == lookback]
    least_rows = min(row["rows"] for row in own)
    over_lookback = [row["peak above import [MiB]"] for row in own if row["rows"] == least_rows]
    peaks = [row["peak above import [MiB]"] * MEBIBYTE for row in over_rows]
    return {
        "slope over rows [x raw bytes]": slope([row["rows"] for row in over_rows], peaks),
        "longest over shortest lookback [MiB more]": over_lookback[-1] - over_lookback[0],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all points and print the tables."""
    parser = common.arguments("Resident memory of the data", "memory")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 2_000_000, 4_000_000])
    parser.add_argument("--reference-rows", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    parser.add_argument("--lookbacks", type=int, nargs="+", default=[100, 200, 400, 800])
    parser.add_argument(
        "--rows-a-file", type=int, default=20_000, help="a file is read as a whole, on top of the table"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rows, options.reference_rows, options.lookbacks = [100_000, 400_000], [2_000, 10_000], [50, 200]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), options)
    figures = {kind: summarise(rows, kind, options.lookbacks[0]) for kind in ("ours", "reference")}
    settings = {"rows_a_file": options.rows_a_file, "batch_size": 64, "figures": figures, "quick": options.quick}
    common.report("Resident memory of the data", rows, options.json, settings)
    summary = [{"case": kind, **values} for kind, values in figures.items()]
    path = options.json.with_name(f"{options.json.stem}_slopes.json")
    common.report("Growth of it; ours is to stay below 2 x raw bytes and flat in lookback", summary, path, settings)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--worker":
        work(json.loads(sys.argv[2]))
        print(peak_bytes())
    else:
        main()
