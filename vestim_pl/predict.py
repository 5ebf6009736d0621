"""Estimate the voltage of recordings: ``python -m vestim_pl.predict checkpoint=... input=... output=...``."""

from vestim_pl.lightning_support import early_signals  # noqa: F401 - before torch, whose import takes seconds

# isort: split
import sys

from vestim_pl.app.command import run_command

if __name__ == "__main__":  # before the imports below, so that a mistake on the command line is reported at once
    run_command("vestim_pl.predict:main", "predict")
    sys.exit()

# isort: split
import logging
from pathlib import Path

from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vestim_pl.app.configuration import build
from vestim_pl.app.interruption import finish_first, now
from vestim_pl.app.threads import use_recorded_threads
from vestim_pl.data.formats.raw_table import LEAVE_OUT
from vestim_pl.deploy.model import VoltageModel, load_model
from vestim_pl.deploy.predict_files import Job, predict_file, predicted_files
from vestim_pl.deploy.prediction import Figures
from vestim_pl.deploy.table_pieces import count_rows
from vestim_pl.errors import DataError, FileError, VestimError
from vestim_pl.settings.checks import check_choice

__all__ = ["main", "predict"]

_log = logging.getLogger("vestim_pl")


def predict(config: DictConfig) -> dict[str, Figures]:
    """Predict as the configuration says.

    Args:
        config: The composed configuration of ``conf/predict.yaml``.

    Returns:
        Errors and counts by recording.

    Raises:
        ConfigurationError: If the checkpoint cannot be used, or the output would overwrite files.
        DataError: If recordings could not be used; all others are written.
        FileError: If a file cannot be written.

    """
    if config.format is not None:
        check_choice("format", config.format, ("parquet", "csv"))
    check_choice("existing", config.existing, ("refuse", "replace", "skip"))
    jobs = predicted_files(Path(config.input), Path(config.output), config.format, config.existing)
    now("loading the checkpoint", "nothing was written; the same command starts again")
    model = load_model(config.checkpoint, build(config.data), config.evaluation, config.device)
    use_recorded_threads(config.checkpoint)
    _describe(model)
    return _predict_all(model, jobs, Path(config.output))


def main(config: DictConfig) -> None:
    """Task of the command: predict."""
    predict(config)


def _predict_all(model: VoltageModel, jobs: list[Job], output: Path) -> dict[str, Figures]:
    """Predict one recording after the other; one that cannot be used does not stop the others."""
    done: dict[str, Figures] = {}
    failed: list[str] = []
    said: set[str] = set()  # each note once
    now("predicting", f"what is in {output} is whole; the same command with existing=skip does the others")
    with _progress() as progress:
        bar = progress.add_task("rows", total=sum(count_rows(job.source) for job in jobs))
        for job in jobs:
            try:
                figures = predict_file(model, job, lambda rows: progress.advance(bar, rows))
            except FileError:  # the next one could not be written either
                raise
            except VestimError as error:
                failed.append(job.label)
                _log.error("error: %s", str(error).removesuffix(f", {LEAVE_OUT}"))  # it is left out already
                continue
            with finish_first("reporting a recording"):
                done[job.label] = figures
                for note in (note for note in figures.notes if note not in said):
                    _log.info("%s: %s", job.label, note)
                said.update(figures.notes)
                _log.info("%s: %s", job.label, figures.describe())
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise DataError(
            f"input: {len(failed)} of {len(jobs)} recordings could not be used ({failed[0]}{more}), for the reasons"
            f" above; {f'the others are in {output}' if done else 'nothing was written'}"
        )
    _log.info("%d recording%s written to %s", len(done), "" if len(done) == 1 else "s", output)
    return done


def _describe(model: VoltageModel) -> None:
    """Say how the estimates are made, and what the checkpoint does not know."""
    evaluation = model.data.evaluation
    how = (
        "state carried over each recording"
        if evaluation.mode == "streams"
        else f"windows of {evaluation.lookback} rows"
    )
    scored = f"; errors and intervals from row {evaluation.burn_in} on" if evaluation.burn_in else ""
    _log.info("features %s; %s%s", ", ".join(model.features), how, scored)
    if model.intervals is None:
        _log.info("no prediction intervals: this checkpoint has none, see docs/predict.md")
    else:
        _log.info("%s", model.intervals.describe())
    if not model.data.ranges:
        _log.warning("rows outside the training range are not marked: this checkpoint does not know the range")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, transient=True, disable=not sys.stdout.isatty())
