"""The report of a multirun: ``sweep.csv`` and ``sweep.html``, written from what its jobs have left.

``python -m vestim_pl.reports.sweep_report multirun/<date>/<time>`` writes them anew.
"""

import argparse
import logging
import re
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import quote

import pandas as pd
from rich.console import Console

from vestim_pl.errors import FileError
from vestim_pl.files import whole_file
from vestim_pl.reports import figures
from vestim_pl.reports.csv_cells import safe_table
from vestim_pl.reports.markup import Html, figure, joined, number, section, table, text
from vestim_pl.reports.sweep_table import short_names, sweep_table
from vestim_pl.reports.terminal import print_sweep
from vestim_pl.settings.command_line import command_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["main", "report_sweep", "write_sweep"]

_log = logging.getLogger("vestim_pl")

_PANELS = 6  # swept settings that are drawn
_NUMBERS = ("val_rmse_mv", "test_rmse_mv")


def write_sweep(folder: Path, console: Console | None = None) -> Path:
    """Write ``sweep.csv`` and ``sweep.html`` into the folder of a multirun, and print its best jobs.

    Args:
        folder: The folder, with a folder for each job.
        console: Where to print; standard output by default.

    Returns:
        The page written.

    Raises:
        NotADirectoryError: If there is no such folder.
        FileError: If a file cannot be written; the jobs are printed all the same.

    """
    jobs = sweep_table(folder)
    try:
        with whole_file(folder / "sweep.csv") as partial:
            safe_table(jobs).to_csv(partial, index=False)
    finally:  # a full disk does not take this away
        print_sweep(jobs, console)
    page = files("vestim_pl.reports")
    content = Template(page.joinpath("report.html").read_text(encoding="utf-8")).substitute(
        style=page.joinpath("report.css").read_text(encoding="utf-8"),
        title=text(f"Sweep · {'/'.join(folder.absolute().parts[-2:])}"),
        subtitle=text(f"multirun of {len(jobs)} jobs"),
        body=_body(jobs, folder),
    )
    with whole_file(folder / "sweep.html") as partial:
        partial.write_text(content, encoding="utf-8")
    return folder / "sweep.html"


def report_sweep(folder: Path) -> None:
    """`write_sweep` after a multirun, and a log line with its page.

    Raises:
        FileError: If a file cannot be written; the line has the command that tries again.

    """
    try:
        _log.info("sweep: %s", write_sweep(folder))
    except FileError as error:
        again = command_line("vestim_pl.reports.sweep_report", str(folder))
        raise FileError(f"{error}; then write the report with: {again}") from error


def _body(jobs: pd.DataFrame, folder: Path) -> Html:
    """The table with a link to the report of each job, and a picture for the settings that were swept."""
    if jobs.empty:
        return Html("<p>No job has left anything.</p>")
    swept = jobs.attrs["swept"]
    heads = (
        "job",
        *short_names(swept),
        "how it ended",
        "validation RMSE, mV",
        "test RMSE, mV",
        "epochs",
        "skips",
        "rollbacks",
        "s",
    )
    rows = [
        (
            _link(str(row["job"]), folder),
            *(str(row[key]) for key in swept),
            Html(f'<span title="{text(row["reason"])}">{text(row["state"])}</span>'),
            *(number(float(row[key]), 2) if row[key] == row[key] else "" for key in _NUMBERS),
            *(number(int(row[key]), 0) for key in ("epochs", "skips", "rollbacks")),
            number(float(row["seconds"]), 0) if row["seconds"] == row["seconds"] else "",
        )
        for _, row in jobs.iterrows()
    ]
    caption = "Best validation RMSE of every job over the settings that were swept; the line joins the medians"
    return joined([section("Jobs, the best first", table(heads, rows)), section("Settings", _picture(jobs, caption))])


def _link(job: str, folder: Path) -> Html:
    report = folder / job / "report.html"
    return Html(f'<a href="{quote(job)}/report.html">{text(job)}</a>') if report.is_file() else text(job)


def _picture(jobs: pd.DataFrame, caption: str) -> Html:
    known = jobs[jobs["val_rmse_mv"].notna()]
    keys = [key for key in jobs.attrs["swept"] if known[key].nunique() > 1][:_PANELS]
    if not keys:
        return Html("")
    with figures.style():
        page = figures.new_figure(8.0, 2.6 * ((len(keys) + 1) // 2) + 0.3)
        panels = page.subplots((len(keys) + 1) // 2, min(2, len(keys)), squeeze=False, sharey=True).flatten()
        for axes, key in zip(panels, keys, strict=False):
            _draw(axes, known, key)
        for axes in panels[len(keys) :]:
            axes.set_visible(False)
        return figure(figures.data_uri(page), caption)


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
    """Numbers by their size, wherever they stand in the text: 1e-4 before 1e-3, [9] before [10]."""
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
