"""Train, validate and test a voltage estimator: `python -m vestim_pl.train +preset=safer`."""

from vestim_pl.lightning_support import early_signals  # noqa: F401 - before torch, whose import takes seconds

# isort: split
import sys

from vestim_pl.app.command import is_multirun, run_command

if __name__ == "__main__":  # before the imports below, so that a mistake on the command line is reported at once
    run_command("vestim_pl.train:main", "train", after_multirun="vestim_pl.reports.sweep_report:report_sweep")
    sys.exit()

# isort: split
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import pandas as pd
from omegaconf import DictConfig

from vestim_pl.app.changed_settings import SettingsInCheckpoint, settings_of
from vestim_pl.app.conf_tree import plain
from vestim_pl.app.earlier_runs import prepare_folder
from vestim_pl.app.early_check import refuse_missing_checkpoint
from vestim_pl.app.ending import record_early_interrupt, record_ending, write_run_report
from vestim_pl.app.estimator import build_estimator, compile_network, read_recordings, reset_global_state
from vestim_pl.app.fitting import fit
from vestim_pl.app.interruption import finish_first, now
from vestim_pl.app.next_command import evaluate_command
from vestim_pl.app.resume import refuse_unfit_checkpoint, resolve_checkpoint
from vestim_pl.app.scoring import best_checkpoint, calibrated_intervals, score_checkpoint, why_no_best
from vestim_pl.app.slurm import requeue_job, requeued_checkpoint
from vestim_pl.app.threads import choose_threads
from vestim_pl.app.trainer import (
    build_trainer,
    quiet_lightning,
    refuse_multirun_of_several_processes,
    refuse_wrong_checkpoints,
    warn_of_missing_guards,
)
from vestim_pl.app.vestim import hyperparams_of
from vestim_pl.data import VoltageDataModule
from vestim_pl.deploy.intervals import PredictionIntervals, store_intervals
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.lightning_support.stop_request import Interrupted, is_first_process
from vestim_pl.reports.provenance import write_provenance

__all__ = ["TrainingRun", "main", "train"]

_log = logging.getLogger("vestim_pl")


@dataclass(frozen=True)
class TrainingRun:
    """The result of a training: its parts, for those who call `train` from Python, and the figures.

    Attributes:
        estimator: The estimator, with the weights of the best checkpoint where there is one.
        datamodule: The data.
        trainer: The trainer.
        best_val_rmse_mv: Lowest validation RMSE in mV; NaN without a validation.
        best_checkpoint: Path of the best checkpoint, empty without one.
        test_errors: RMSE, MAE and largest error in mV by recording and overall; None without a test.

    """

    estimator: VoltageEstimator
    datamodule: VoltageDataModule
    trainer: pl.Trainer
    best_val_rmse_mv: float
    best_checkpoint: str
    test_errors: pd.DataFrame | None


def main(config: DictConfig) -> float | None:
    """Task of the command: train, and return the best validation RMSE in mV for sweepers; never NaN."""
    try:
        run = train(config)
    except Interrupted as stop:
        if is_first_process() and not is_multirun():
            requeue_job(stop.signal)
        raise
    if not run.best_checkpoint:
        return None
    if not math.isfinite(run.best_val_rmse_mv):
        raise DivergenceError(
            f"validation RMSE is {run.best_val_rmse_mv} mV: training diverged; lower optimizer.lr or add +preset=safer"
        )
    return run.best_val_rmse_mv


def train(config: DictConfig) -> TrainingRun:
    """Train as the configuration says, test the best checkpoint, and write the report.

    Args:
        config: The composed configuration of ``conf/train.yaml``.

    Raises:
        ConfigurationError: If settings contradict each other.
        DataError: If a recording cannot be used.
        DivergenceError: If training diverged and nothing could recover it.
        FileError: If the disk is full, the folder of the run is gone, and the like, with the last complete checkpoint.
        Interrupted: If a signal stopped it; checkpoint, event and report are written.

    """
    with record_early_interrupt(config):
        trainer, estimator, datamodule, ckpt_path = _build(config)
    with record_ending(config, trainer):
        fit(trainer, estimator, datamodule, ckpt_path)
        run = _test_best(config, trainer, estimator, datamodule)
    write_run_report(config)
    return run


def _build(config: DictConfig) -> tuple[pl.Trainer, VoltageEstimator, VoltageDataModule, str | None]:
    """Read the recordings, build and check all that a training needs, and find the checkpoint to resume from."""
    now("reading the recordings", "nothing was trained; the same command starts again")
    vestim = hyperparams_of(config)
    refuse_multirun_of_several_processes(config)
    refuse_wrong_checkpoints(plain(config.callbacks))
    if config.coverage is not None and not 0 < config.coverage < 1:
        raise ConfigurationError(f"coverage: {config.coverage} is not between 0 and 1; use for example 0.9, or null")
    refuse_missing_checkpoint(config.ckpt_path)
    run_dir = Path(config.run_dir)
    ckpt_path = resolve_checkpoint(config.ckpt_path, run_dir) or requeued_checkpoint(run_dir)
    quiet_lightning()
    reset_global_state(config)
    datamodule = read_recordings(config, "fit")
    _log.info("recordings in %s\n%s", datamodule.root, datamodule.describe())
    estimator = build_estimator(config, datamodule)
    settings = settings_of(config)
    refuse_unfit_checkpoint(ckpt_path, estimator, settings)
    if config.compile:
        compile_network(estimator)
    warn_of_missing_guards(config)
    trainer = build_trainer(config, SettingsInCheckpoint(settings))
    if trainer.is_global_zero and not config.trainer.get("fast_dev_run"):
        prepare_folder(run_dir, ckpt_path)
    choose_threads(trainer, estimator, datamodule.sampling, ckpt_path)
    write_provenance(run_dir, trainer, vestim, datamodule.assumptions)
    return trainer, estimator, datamodule, ckpt_path


def _test_best(
    config: DictConfig, trainer: pl.Trainer, estimator: VoltageEstimator, datamodule: VoltageDataModule
) -> TrainingRun:
    """Test the best checkpoint of a complete training."""
    best, run_dir = best_checkpoint(trainer), Path(config.run_dir)
    command = evaluate_command(config, best.best_model_path) if best else None
    advice = f"; to test its best checkpoint: {command}" if command else f", in {run_dir}"
    now("testing" if config.test else "ending", f"the training is complete{advice}")
    if config.trainer.get("fast_dev_run") or best is None or best.best_model_score is None:
        if not config.trainer.get("fast_dev_run"):
            _log.warning("no best checkpoint, so nothing was tested: %s", why_no_best(config))
        return TrainingRun(estimator, datamodule, trainer, math.nan, "", None)
    _log.info("best validation RMSE %.2f mV, checkpoint %s", best.best_model_score, best.best_model_path)
    intervals = None
    if config.coverage is not None:
        intervals = calibrated_intervals(trainer, estimator, datamodule, best.best_model_path, config.coverage)
    errors = None
    if config.test:
        errors = score_checkpoint(trainer, estimator, datamodule, best.best_model_path, run_dir, intervals)
    if trainer.is_global_zero:
        _store(intervals, best.best_model_path, config.coverage)
    now("ending", f"the training is complete, and everything is written, in {run_dir}")
    return TrainingRun(estimator, datamodule, trainer, float(best.best_model_score), best.best_model_path, errors)


def _store(intervals: PredictionIntervals | None, checkpoint: str, coverage: float | None) -> None:
    """Write the prediction intervals into the best checkpoint, and log them, or why there are none."""
    if intervals is not None:
        with finish_first("writing the prediction intervals"):
            store_intervals(checkpoint, intervals)
        _log.info("%s", intervals.describe())
    elif coverage is not None:
        _log.info("no prediction intervals: the validation recordings are too short for coverage=%g", coverage)
