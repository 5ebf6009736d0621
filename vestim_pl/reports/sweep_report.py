"""Write the report of a multirun, ``sweep.csv`` and ``sweep.html``, from the files of its jobs.

``python -m vestim_pl.reports.sweep_report multirun/<date>/<time>`` writes them again.
"""

import argparse
import logging
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console

from vestim_pl.errors import FileError
from vestim_pl.files import whole_file
from vestim_pl.reports import figures
from vestim_pl.reports.csv_cells import safe_table
from vestim_pl.reports.page import render_page
from vestim_pl.reports.sweep_table import short_names, sweep_table
from vestim_pl.reports.terminal import print_sweep
from vestim_pl.settings.command_line import command_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["main", "report_sweep", "write_sweep"]

_log = logging.getLogger("vestim_pl")

_PANELS = 6  # swept settings that are drawn


def write_sweep(folder: Path, console: Console | None = None) -> Path:
    """Write ``sweep.csv`` and ``sweep.html`` into the folder of a multirun, and print its best jobs.

    Args:
        folder: Folder of the multirun, with a folder for each job.
        console: Where to print; standard output by default.

    Returns:
        The page written.

    Raises:
        NotADirectoryError: If there is no such folder.
        FileError: If a file cannot be written; the jobs are still printed.

    """
    jobs = sweep_table(folder)
    try:
        with whole_file(folder / "sweep.csv") as partial:
            safe_table(jobs).to_csv(partial, index=False)
    finally:  # the jobs are printed even when the disk is full
        print_sweep(jobs, console)
    content = render_page(
        "sweep_report.html",
        title=f"Sweep · {'/'.join(folder.absolute().parts[-2:])}",
        jobs=jobs.to_dict("records"),
        swept=jobs.attrs["swept"],
        names=short_names(jobs.attrs["swept"]),
        reported=[name for name in jobs.get("job", ()) if (folder / name / "report.html").is_file()],
        settings=_picture(jobs),
    )
    with whole_file(folder / "sweep.html") as partial:
        partial.write_text(content, encoding="utf-8")
    return folder / "sweep.html"


def report_sweep(folder: Path) -> None:
    """Call `write_sweep` after a multirun and log the path of the page.

    Raises:
        FileError: If a file cannot be written; the message has the command to try again.

    """
    try:
        _log.info("sweep: %s", write_sweep(folder))
    except FileError as error:
        again = command_line("vestim_pl.reports.sweep_report", str(folder))
        raise FileError(f"{error}; then write the report with: {again}") from error


def _picture(jobs: pd.DataFrame) -> str | None:
    """Draw the validation RMSE over each swept setting; None where no setting took several values."""
    if jobs.empty:
        return None
    known = jobs[jobs["val_rmse_mv"].notna()]
    keys = [key for key in jobs.attrs["swept"] if known[key].nunique() > 1][:_PANELS]
    if not keys:
        return None
    with figures.style():
        page = figures.new_figure(8.0, 2.6 * ((len(keys) + 1) // 2) + 0.3)
        panels = page.subplots((len(keys) + 1) // 2, min(2, len(keys)), squeeze=False, sharey=True).flatten()
        for axes, key in zip(panels, keys, strict=False):
            _draw(axes, known, key)
        for axes in panels[len(keys) :]:
            axes.set_visible(False)
        return figures.data_uri(page)


def _draw(axes: "Axes", jobs: pd.DataFrame, key: str) -> None:
    pairs = sorted(zip(jobs[key], jobs["val_rmse_mv"], strict=True), key=lambda pair: _natural(pair[0]))
    groups = [(value, [rmse for _, rmse in group]) for value, group in groupby(pairs, key=lambda pair: pair[0])]
    for place, (_, errors) in enumerate(groups):
        axes.plot([place] * len(errors), errors, "o", color=figures.BLUE, alpha=0.7)
    axes.plot(range(len(groups)), [pd.Series(errors).median() for _, errors in groups], color=figures.VERMILION)
    axes.set_xticks(range(len(groups)), [value for value, _ in groups])
    axes.set_xlabel(key)
    axes.set_ylabel("validation RMSE, mV")


def _natural(value: str) -> list[tuple[float, str]]:
    """Sort key that orders numbers inside a text by size: 1e-4 before 1e-3, [9] before [10]."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", value)
    return [(float(part), "") if index % 2 else (-1.0, part) for index, part in enumerate(parts)]


def main() -> None:
    """Write the report of the multirun on the command line and print its path."""
    parser = argparse.ArgumentParser(description="Write sweep.csv and sweep.html of a multirun.")
    parser.add_argument("folder", type=Path, help="folder of a multirun, such as multirun/<date>/<time>")
    arguments = parser.parse_args()
    try:
        print(write_sweep(arguments.folder))
    except (FileError, NotADirectoryError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
