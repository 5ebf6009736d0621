"""Print tables in the terminal."""

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vestim_pl.reports.sweep_table import short_names

__all__ = ["print_checkpoints", "print_errors", "print_sweep"]

_MOST_JOBS = 20

_EVALUATION = {
    "windows": "every window from the zero state",
    "streams": "whole recordings, state carried",
}


def print_errors(errors: pd.DataFrame, evaluation: str, console: Console | None = None) -> None:
    """Print RMSE, MAE and largest error in mV by recording, the overall row last.

    Args:
        errors: From `error_table`.
        evaluation: ``windows`` or ``streams``: how the steps were estimated, for the title.
        console: Where to print; standard output by default.

    """
    table = Table(title=f"Test: {_EVALUATION[evaluation]}", title_justify="left")
    table.add_column("recording", no_wrap=True)
    for heading in ("steps", "RMSE [mV]", "MAE [mV]", "max [mV]"):
        table.add_column(escape(heading), justify="right", no_wrap=True)
    for row in errors.itertuples():
        if row.recording == "overall":
            table.add_section()
        table.add_row(
            escape(str(row.recording)),
            f"{row.steps:,}",
            f"{row.rmse_mv:.2f}",
            f"{row.mae_mv:.2f}",
            f"{row.max_error_mv:.1f}",
        )
    (console or Console()).print(table)


def print_checkpoints(errors: pd.DataFrame, evaluation: str, console: Console | None = None) -> None:
    """Print the overall errors in mV of several checkpoints, then their mean and standard deviation.

    Args:
        errors: From `error_table`, with a column ``checkpoint``.
        evaluation: As in `print_errors`.
        console: Where to print; standard output by default.

    """
    table = Table(title=f"Test: {_EVALUATION[evaluation]}", title_justify="left")
    table.add_column("checkpoint", overflow="fold")
    for heading in ("steps", "RMSE [mV]", "MAE [mV]", "max [mV]"):
        table.add_column(escape(heading), justify="right", no_wrap=True)
    overall = errors[errors["recording"] == "overall"]
    figures = overall[["rmse_mv", "mae_mv", "max_error_mv"]]
    for (_, row), steps, name in zip(figures.iterrows(), overall["steps"], overall["checkpoint"], strict=True):
        table.add_row(escape(str(name)), f"{steps:,}", *(f"{value:.2f}" for value in row))
    table.add_section()
    for name, row in (("mean", figures.mean(skipna=False)), ("standard deviation", figures.std(skipna=False))):
        table.add_row(name, "", *(f"{value:.2f}" for value in row))
    (console or Console()).print(table)


def print_sweep(jobs: pd.DataFrame, console: Console | None = None) -> None:
    """Print the jobs of a multirun, best first: swept settings, how each ended, validation and test RMSE.

    Args:
        jobs: From `sweep_table`.
        console: Where to print; standard output by default.

    """
    table = Table(title="Sweep, best first", title_justify="left")
    swept = jobs.attrs["swept"]
    for heading in ("job", *short_names(swept), "how it ended"):
        table.add_column(escape(heading), overflow="fold")
    for heading in ("val RMSE [mV]", "test RMSE [mV]"):
        table.add_column(escape(heading), justify="right")
    for _, row in jobs.head(_MOST_JOBS).iterrows():
        errors = (f"{row[key]:.2f}" if row[key] == row[key] else "-" for key in ("val_rmse_mv", "test_rmse_mv"))
        table.add_row(*(escape(str(row[key])) for key in ("job", *swept, "state")), *errors)
    console = console or Console()
    console.print(table)
    if len(jobs) > _MOST_JOBS:
        console.print(f"and {len(jobs) - _MOST_JOBS} more in sweep.csv")
