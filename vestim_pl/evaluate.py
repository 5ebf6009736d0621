"""Test a checkpoint on recordings: ``python -m vestim_pl.evaluate ckpt_path=... data=folder data.root=DIR``."""

from vestim_pl.lightning_support import early_signals  # noqa: F401 - before torch, whose import takes seconds

# isort: split
import sys

from vestim_pl.app.command import run_command

if __name__ == "__main__":  # before the imports below, so that a mistake on the command line is reported at once
    run_command("vestim_pl.evaluate:main", "evaluate")
    sys.exit()

# isort: split
import logging
from pathlib import Path

import lightning.pytorch as pl
import pandas as pd
from omegaconf import DictConfig

from vestim_pl.app.configuration import build
from vestim_pl.app.earlier_runs import prepare_folder
from vestim_pl.app.interruption import finish_first, now
from vestim_pl.app.scoring import score_checkpoint
from vestim_pl.app.threads import choose_threads
from vestim_pl.app.trainer import build_trainer, quiet_lightning
from vestim_pl.data import PreparationSettings, VoltageDataModule
from vestim_pl.deploy.checkpoint import load_estimator
from vestim_pl.reports.provenance import write_provenance
from vestim_pl.reports.run_report import write_report

__all__ = ["evaluate", "main"]

_log = logging.getLogger("vestim_pl")


def evaluate(config: DictConfig) -> pd.DataFrame:
    """Test a checkpoint as the configuration says; leaves errors, estimates and a report in the folder of the run.

    Args:
        config: The composed configuration of ``conf/evaluate.yaml``.

    Returns:
        RMSE, MAE and largest error in mV by recording and overall.

    Raises:
        ConfigurationError: If the checkpoint is none, or settings contradict each other.
        DataError: If a recording cannot be used, or lacks a column that the estimator is fed with.

    """
    now("reading the recordings", "nothing was tested; the same command starts again")
    quiet_lightning()
    estimator, folder = load_estimator(str(config.ckpt_path)), Path(str(config.run_dir))
    datamodule: VoltageDataModule = build(
        config.data,
        sampling=build(config.sampling),
        features=list(estimator.hparams["features"]),
        trained=PreparationSettings.of_estimator(estimator.hparams),
        trained_pairs=estimator.rc_pairs,  # windows too are to know what came before them, as in the training
        rc_pairs=[],
    )
    datamodule.setup("test")
    _log.info("recordings in %s\n%s", datamodule.root, datamodule.describe())
    trainer: pl.Trainer = build_trainer(config)
    if trainer.is_global_zero:
        prepare_folder(folder, None)
    choose_threads(trainer, estimator, datamodule.sampling, str(config.ckpt_path))
    write_provenance(folder, trainer, data=datamodule.assumptions)
    now("testing", "nothing was written; the same command starts again")
    errors = score_checkpoint(trainer, estimator, datamodule, None, folder)
    with finish_first("writing the report"):
        if trainer.is_global_zero:
            _log.info("report: %s", write_report(folder))
    now("ending", f"everything is written, in {folder}")
    return errors


def main(config: DictConfig) -> float:
    """Task of the command: evaluate; returns the overall RMSE in mV."""
    return float(evaluate(config)["rmse_mv"].iloc[-1])
