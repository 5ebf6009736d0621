"""Setting up the data: reading, preparing and checking a folder, and plainly reading the same columns.

    python scripts/benchmarks/preparation.py                       # the demo data
    python scripts/benchmarks/preparation.py --root measurements   # with train/, val/ and test/ of Parquet files
    python scripts/benchmarks/preparation.py --quick

``x plain`` is the time to that of pyarrow for the same columns of the same files. Before there were a preparation and
checks of what values mean, it was 1.6 for LG's HG2 cell.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import common
import pyarrow.parquet as pq

from vestim_pl.data import VoltageDataModule
from vestim_pl.data.split_reader import demo_folder

WANTED = ["Time", "Current", "Voltage", "Temp", "SOC"]


def plain(paths: Sequence[Path]) -> None:
    """Read the columns that a training needs."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            file.read(columns=WANTED).to_pandas(ignore_metadata=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Time the data module with and without its checks, and report."""
    parser = common.arguments("Time of reading, preparing and checking a folder.", "preparation")
    parser.add_argument("--root", type=Path, default=demo_folder(), help="folder with train, val and test")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    options = parser.parse_args(argv)
    paths = [path for split in ("train", "val", "test") for path in sorted((options.root / split).glob("*.parquet"))]
    cases: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(paths),
        "checks=refuse": lambda: VoltageDataModule(options.root).setup(),
        "checks=off": lambda: VoltageDataModule(options.root, checks="off").setup(),
        "resample=2": lambda: VoltageDataModule(options.root, resample=2.0).setup(),
    }
    timings = common.interleave(cases, rounds=2 if options.quick else options.rounds, least_seconds=0.2)
    rows = [
        {
            "case": name,
            "files": len(paths),
            "ms a file": 1000 * timing.median / len(paths),
            "x plain": timing.over(timings["plain"]),
        }
        for name, timing in timings.items()
    ]
    common.report("Reading, preparing and checking a folder", rows, options.json)


if __name__ == "__main__":
    main()
