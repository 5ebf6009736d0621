"""Write the report of a multirun, ``sweep.csv`` and ``sweep.html``, from the files of its jobs.

``python -m vestim_pl.reports.sweep_report multirun/<date>/<time>`` writes them again.
"""

import argparse
import logging
import re
from itertools import groupby
from pathlib import Path

import pandas as pd
from rich.console import Console

from vestim_pl.errors import FileError
from vestim_pl.files import whole_file
from vestim_pl.reports.csv_cells import safe_table
from vestim_pl.reports.figures import BLUE, PALETTE, VERMILION, Figure, line, plain, value_axis
from vestim_pl.reports.page import render_page
from vestim_pl.reports.run_metrics import EpochAxis, curve, metric_files, read_metrics
from vestim_pl.reports.sweep_table import short_names, sweep_table
from vestim_pl.reports.terminal import print_sweep
from vestim_pl.settings.command_line import command_line

__all__ = ["main", "report_sweep", "write_sweep"]

_log = logging.getLogger("vestim_pl")

_PANELS = 6  # swept settings that are drawn
_MOST_CURVES = 30  # jobs whose curves are drawn, best first
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


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
        plots=_plots(folder, jobs),
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


def _plots(folder: Path, jobs: pd.DataFrame) -> dict[str, Figure]:
    """Validation RMSE over each swept setting with several values, and over the epochs of each job."""
    if jobs.empty:
        return {}
    known = jobs[jobs["val_rmse_mv"].notna()]
    keys = [key for key in jobs.attrs["swept"] if known[key].nunique() > 1][:_PANELS]
    plots = {f"setting_{place}": _over_setting(known, key) for place, key in enumerate(keys)}
    curves = _curves(folder, jobs)
    return plots | ({"curves": curves} if curves else {})


def _over_setting(jobs: pd.DataFrame, key: str) -> Figure:
    pairs = sorted(zip(jobs[key], jobs["val_rmse_mv"], jobs["job"], strict=True), key=lambda pair: _natural(pair[0]))
    groups = {value: [rmse for _, rmse, _ in group] for value, group in groupby(pairs, key=lambda pair: pair[0])}
    medians = [float(pd.Series(errors).median()) for errors in groups.values()]
    places = {value: place for place, value in enumerate(groups)}
    data = [
        line(list(places.values()), medians, "median", VERMILION, hoverinfo="skip"),
        line([places[value] for value, *_ in pairs], [rmse for _, rmse, _ in pairs], "job", BLUE, mode="markers",
             marker={"size": 9, "color": BLUE, "opacity": 0.75}, text=[plain(job) for *_, job in pairs],
             hovertemplate="job %{text}: %{y:.2f} mV<extra></extra>"),
    ]  # fmt: skip
    axis = {"tickvals": list(places.values()), "ticktext": [plain(value) for value in places], "zeroline": False}
    layout = {
        "height": 300,
        "xaxis": {"title": {"text": plain(key)}, **axis},
        "yaxis": {"title": {"text": "validation RMSE [mV]"}, **value_axis(jobs["val_rmse_mv"], 200)},
    }
    return {"data": data, "layout": layout}


def _curves(folder: Path, jobs: pd.DataFrame) -> Figure | None:
    """Validation RMSE of the best jobs over their epochs."""
    data, values, longest = [], [], 0
    for place, (_, job) in enumerate(jobs.head(_MOST_CURVES).iterrows()):
        metrics = read_metrics(metric_files(folder / str(job["job"])))
        rows = curve(metrics, "val/rmse_mv", EpochAxis.of(metrics))
        if len(rows):
            name = " ".join([str(job["job"]), *(str(job[key]) for key in jobs.attrs["swept"])])
            data.append(
                line(rows["x"], rows["value"], name, PALETTE[place % len(PALETTE)], mode="lines+markers",
                     line={"dash": _DASHES[place // len(PALETTE) % len(_DASHES)]}, marker={"size": 5},
                     hovertemplate="%{y:.2f} mV")
            )  # fmt: skip
            values += list(rows["value"])
            longest = max(longest, len(rows))
    if longest < 2:
        return None
    legend = {"orientation": "v", "x": 1.01, "xanchor": "left", "y": 1, "yanchor": "top"}
    layout = {
        "height": 420,
        "legend": legend | {"title": {"text": plain(" ".join(["job", *short_names(jobs.attrs["swept"])]))}},
        "showlegend": True,
        "hovermode": "closest",
        "xaxis": {"title": {"text": "Epoch"}, "zeroline": False},
        "yaxis": {"title": {"text": "validation RMSE [mV]"}, **value_axis(values, 300)},
    }
    return {"data": data, "layout": layout}


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
