"""Reading recordings: ours, which finds out how a file is written, and the plain reader that is told.

    python scripts/benchmarks/reading.py                            # the demo data, 20 seconds
    python scripts/benchmarks/reading.py --root measurements/train
    python scripts/benchmarks/reading.py --quick

Every recording below the root is written once in each format, with five columns more than are needed, and all are read
in turn within one run. ``x plain`` is the time of ours to that of pyarrow or pandas for the same columns of a file.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import common
import pandas as pd
import pyarrow.parquet as pq

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.reading import read_table
from vestim_pl.data.split_reader import demo_folder

WANTED = ["Time", "Current", "Voltage", "Temp", "SOC"]


def write_formats(recordings: Sequence[Path], folder: Path) -> dict[str, list[Path]]:
    """Write each recording as Parquet, CSV and tab-separated text with a decimal comma and a preamble."""
    paths: dict[str, list[Path]] = {"Parquet": [], "CSV": [], "text": []}
    for number, source in enumerate(recordings):
        frame = pd.read_parquet(source)[WANTED]
        frame = pd.concat([frame, frame.add_prefix("Other ")], axis="columns")
        paths["Parquet"].append(folder / f"{number}.parquet")
        frame.to_parquet(paths["Parquet"][-1])
        paths["CSV"].append(folder / f"{number}.csv")
        frame.to_csv(paths["CSV"][-1], index=False)
        paths["text"].append(folder / f"{number}.txt")
        with paths["text"][-1].open("w") as file:
            file.write("Cell\t7\nProgram\tdrive\n")
            frame.to_csv(file, index=False, sep="\t", decimal=",")
    return paths


def plain(name: str, path: Path) -> pd.DataFrame:
    """Read the columns as somebody who knows how the file is written."""
    if name == "Parquet":
        with pq.ParquetFile(path) as file:
            return file.read(columns=WANTED).to_pandas(ignore_metadata=True)
    if name == "CSV":
        return pd.read_csv(path, usecols=WANTED)
    return pd.read_csv(path, usecols=WANTED, sep="\t", decimal=",", skiprows=2)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the formats, time both readers, and report."""
    parser = common.arguments("Time of reading a folder in several formats.", "reading")
    parser.add_argument(
        "--root", type=Path, default=demo_folder(), help="folder of Parquet files in the package's names"
    )
    parser.add_argument("--quick", action="store_true", help="two recordings, two rounds")
    options = parser.parse_args(argv)
    recordings = sorted(options.root.rglob("*.parquet"))[: 2 if options.quick else None]
    rounds = 2 if options.quick else options.rounds
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, paths in write_formats(recordings, Path(folder)).items():
            cases: dict[str, Callable[[], object]] = {
                "ours": lambda paths=paths: [read_table(path, wanted=Columns()) for path in paths],
                "plain": lambda paths=paths, name=name: [plain(name, path) for path in paths],
            }
            timings = common.interleave(cases, rounds=rounds, least_seconds=0.2)
            rows.append(
                {
                    "format": name,
                    "files": len(paths),
                    "MB": sum(path.stat().st_size for path in paths) / 1e6,
                    "ours [ms a file]": 1000 * timings["ours"].median / len(paths),
                    "plain [ms a file]": 1000 * timings["plain"].median / len(paths),
                    "x plain": timings["ours"].over(timings["plain"]),
                }
            )
    common.report("Reading of recordings", rows, options.json)


if __name__ == "__main__":
    main()
