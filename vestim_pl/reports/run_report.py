"""Write the report of a run: one HTML file that needs no other file.

``python -m vestim_pl.reports.run_report RUN_DIR`` writes it again for an existing folder.
"""

import argparse
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.errors import FileError
from vestim_pl.files import whole_file
from vestim_pl.reports.compared_checkpoints import ComparedCheckpoints, mean_errors
from vestim_pl.reports.event_story import event_story
from vestim_pl.reports.gradient_flow_figure import gradient_flow_figure
from vestim_pl.reports.learning_curves import learning_curves
from vestim_pl.reports.page import render_page, rounded
from vestim_pl.reports.run_duration import run_duration
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.run_status import RunState, best_validation, run_status
from vestim_pl.reports.run_words import run_in_words
from vestim_pl.reports.tested_errors import TestedErrors

__all__ = ["main", "render", "write_report"]

REPORT = "report.html"
LOG_LINES = 60
_TONES = {RunState.FINISHED: "good", RunState.EARLY_STOPPED: "good", RunState.DIVERGED: "bad", RunState.FAILED: "bad"}
_TEST_FIGURES = (("rmse_mv", "Test RMSE", 2), ("mae_mv", "Test MAE", 2), ("max_error_mv", "Test max", 1))


@dataclass(frozen=True)
class Figure:
    """An error in mV at the top of the report."""

    name: str
    value: float
    digits: int
    note: str | None = None


@dataclass(frozen=True)
class NonFinite:
    """Non-finite values logged under one key."""

    key: str
    found: list[float]
    count: int
    logged: int
    first_step: float


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` into a run folder.

    It only reads the files of the run: configuration, metrics, events, test errors, tested steps, provenance and log. A
    run that died, was interrupted or was not tested gets a report too, which lists the missing files. The same folder
    gives the same bytes.

    Args:
        run_dir: The folder of the run.

    Returns:
        The file written. An earlier report stays whole until the new one is complete.

    Raises:
        NotADirectoryError: If there is no such folder.
        FileError: If the file cannot be written.

    """
    page = render(RunFolder.read(run_dir))
    path = run_dir / REPORT
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def render(run: RunFolder) -> str:
    """Return the page as text.

    Example::

        >>> page = render(RunFolder(Path("outputs/2026-01-02/03-04-05")))
        >>> "no end recorded" in page
        True

    """
    status, errors = run_status(run), TestedErrors.of(run)
    own = {"learning_curves": learning_curves(run), "gradient_flow": gradient_flow_figure(run.path)}
    plots = {name: figure for name, figure in own.items() if figure} | dict(errors.plots if errors else {})
    return render_page(
        "run_report.html",
        run=run,
        title=_title(run),
        kind="training run" if run.setting("optimizer") else "run",
        started=str(run.provenance.get("started", "")).replace("T", " ").replace("+00:00", " UTC"),
        status=status,
        tone=_TONES.get(status.state, "open"),
        headline=list(_headline(run)),
        duration=run_duration(run),
        summary=run_in_words(run.setting),
        plots=plots,
        recordings=errors.traces if errors else None,
        non_finite=_non_finite(run.metrics),
        story=event_story(run.events),
        errors=errors,
        provenance=list(_flat(run.provenance)),
        log_end=run.log[-LOG_LINES:],
    )


def _title(run: RunFolder) -> str:
    """Preset, if any, and the last parts of the folder's name: date and time."""
    preset = next((item.split("=", 1)[1] for item in run.overrides if item.lstrip("+").startswith("preset=")), "")
    place = "/".join(run.path.absolute().parts[-2:])
    return f"{preset} · {place}" if preset else place


def _headline(run: RunFolder) -> Iterable[Figure]:
    overall, compared = _overall(run), ComparedCheckpoints.of(run.errors) if run.errors is not None else None
    for place, (name, label, digits) in enumerate(_TEST_FIGURES):
        if name in overall:
            spread = (
                f"± {rounded(compared.spread[place].deviation, digits)}, {len(compared.names)} checkpoints"
                if compared
                else None
            )
            yield Figure(label, overall[name], digits, spread)
    if best := best_validation(run.metrics):
        rmse, epoch = best
        note = f"epoch {epoch}" if epoch >= 0 else ("no finite value" if math.isnan(rmse) else "")
        yield Figure("Best validation RMSE", rmse, 2, note)


def _overall(run: RunFolder) -> dict[str, float]:
    if run.errors is not None:
        rows = mean_errors(run.errors[run.errors["recording"] == "overall"])
        if len(rows):
            return {name: float(rows.iloc[-1][name]) for name, _, _ in _TEST_FIGURES}
    logged: Iterable[Any] = run.metrics[run.metrics["key"].str.startswith("test/")].itertuples()
    return {str(row.key).removeprefix("test/"): float(row.value) for row in logged}


def _non_finite(metrics: pd.DataFrame) -> list[NonFinite]:
    """Values that a curve cannot show, by key."""
    bad = metrics[~np.isfinite(metrics["value"])]
    return [
        NonFinite(
            key=str(key),
            found=list(rows["value"].drop_duplicates()),
            count=len(rows),
            logged=int((metrics["key"] == key).sum()),
            first_step=float(rows["step"].iloc[0]),
        )
        for key, rows in bad.groupby("key", sort=False)
    ]


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, object]]:
    """Nested values by their dotted names, without those that are None."""
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        elif value is not None:
            yield name, " ".join(map(str, value)) if isinstance(value, list) else value


def main() -> None:
    """Write the report of the folder on the command line and print its path."""
    parser = argparse.ArgumentParser(description="Write report.html of a run folder.")
    parser.add_argument("run_dir", type=Path, help="folder of a run, such as outputs/<date>/<time>")
    arguments = parser.parse_args()
    try:
        print(write_report(arguments.run_dir))
    except (FileError, NotADirectoryError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
