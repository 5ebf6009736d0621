"""Tables for the terminal."""

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["print_errors"]

_EVALUATION = {
    "windows": "every window from the zero state",
    "streams": "whole recordings, state carried",
}


def print_errors(errors: pd.DataFrame, evaluation: str, console: Console | None = None) -> None:
    """Print RMSE, MAE and largest error in mV by recording, the overall row last.

    Args:
        errors: As :func:`vestim_pl.reports.recording_errors.error_table` gives it.
        evaluation: ``windows`` or ``streams``: how the steps were estimated, said in the title.
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
