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

import pandas as pd
from omegaconf import DictConfig

from vestim_pl.app.earlier_runs import prepare_folder
from vestim_pl.app.ending import write_run_report
from vestim_pl.app.estimator import read_recordings
from vestim_pl.app.interruption import now
from vestim_pl.app.scoring import score_checkpoint
from vestim_pl.app.threads import choose_threads
from vestim_pl.app.trainer import build_trainer, quiet_lightning
from vestim_pl.deploy.checkpoint import load_estimator
from vestim_pl.reports.provenance import write_provenance

__all__ = ["evaluate", "main"]

_log = logging.getLogger("vestim_pl")


def evaluate(config: DictConfig) -> pd.DataFrame:
    """Test a checkpoint as the configuration says; writes errors, estimates and a report to the folder of the run.

    Args:
        config: The composed configuration of ``conf/evaluate.yaml``.

    Returns:
        RMSE, MAE and largest error in mV by recording and overall.

    Raises:
        ConfigurationError: If the file is not a checkpoint of an estimator, or settings contradict each other.
        DataError: If a recording cannot be used, or lacks an input column of the estimator.

    """
    now("reading the recordings", "nothing was tested; the same command starts again")
    quiet_lightning()
    folder, ckpt_path = Path(str(config.run_dir)), str(config.ckpt_path)
    estimator = load_estimator(ckpt_path)
    pairs = {"rc_pairs": [], "cold_factor": 0.0}
    if estimator.rc_pairs is not None:  # a window starts with the states of the RC pairs, as in training
        pairs = {"rc_pairs": estimator.rc_pairs.options["steps"], "cold_factor": estimator.rc_pairs.cold_factor}
    datamodule = read_recordings(config, "test", features=list(estimator.hparams["features"]), **pairs)
    _log.info("recordings in %s\n%s", datamodule.root, datamodule.describe())
    trainer = build_trainer(config)
    if trainer.is_global_zero:
        prepare_folder(folder, None)
    choose_threads(trainer, estimator, datamodule.sampling, ckpt_path)
    write_provenance(folder, trainer)
    now("testing", "nothing was written; the same command starts again")
    errors = score_checkpoint(trainer, estimator, datamodule, None, folder)
    write_run_report(config)
    now("ending", f"everything is written, in {folder}")
    return errors


def main(config: DictConfig) -> float:
    """Task of the command: evaluate; returns the overall RMSE in mV."""
    return float(evaluate(config)["rmse_mv"].iloc[-1])
