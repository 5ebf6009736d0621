"""Test checkpoints on recordings: ``python -m vestim_pl.evaluate ckpt_path=... data=folder data.root=DIR``."""

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
from vestim_pl.app.scoring import limits_of, scored_steps, write_scores
from vestim_pl.app.several_checkpoints import load_several, paths_of, side_by_side
from vestim_pl.app.threads import choose_threads
from vestim_pl.app.trainer import build_trainer, quiet_lightning
from vestim_pl.data import PreparationSettings, VoltageDataModule
from vestim_pl.deploy.model import VoltageModel
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.reports.provenance import write_provenance

__all__ = ["evaluate", "main"]

_log = logging.getLogger("vestim_pl")


def evaluate(config: DictConfig) -> pd.DataFrame:
    """Test one checkpoint or several; writes errors, estimates and a report to the folder of the run.

    Args:
        config: The composed configuration of ``conf/evaluate.yaml``.

    Returns:
        RMSE, MAE and largest error in mV by recording and overall; of several checkpoints one after the other, with
        their names in the column ``checkpoint``.

    Raises:
        ConfigurationError: If the file is not a checkpoint of an estimator, or settings contradict each other.
        DataError: If a recording cannot be used, or lacks an input column of the estimator.

    """
    now("reading the recordings", "nothing was tested; the same command starts again")
    quiet_lightning()
    models, folder = load_several(config.ckpt_path), Path(str(config.run_dir))
    recordings = {name: _read_recordings(config, model.estimator) for name, model in models.items()}
    first, datamodule = next(iter(models.values())), next(iter(recordings.values()))
    own = "; they are simulated: data=folder data.root=DIR takes your own" if str(config.data.root) == "demo" else ""
    _log.info("recordings in %s%s\n%s", datamodule.root, own, datamodule.describe())
    trainer = build_trainer(config)
    if trainer.is_global_zero:
        prepare_folder(folder, None)
    choose_threads(trainer, first.estimator, datamodule.sampling, paths_of(config.ckpt_path)[0])
    write_provenance(folder, trainer, data=datamodule.assumptions)
    now("testing", "nothing was written; the same command starts again")
    for name, model in models.items():
        _warn_of_other_evaluation(name, model, datamodule.sampling.evaluation)
    steps = {
        name: scored_steps(trainer, model.estimator, recordings[name], None, model.intervals)
        for name, model in models.items()
    }
    errors = write_scores(trainer, side_by_side(steps), folder, datamodule.sampling.evaluation)
    for name, scored in steps.items():
        for line in limits_of(scored):
            _log.info("%s: %s", name, line)
    write_run_report(config)
    now("ending", f"everything is written, in {folder}")
    return errors


def main(config: DictConfig) -> float:
    """Task of the command: evaluate; returns the overall RMSE in mV, the mean of several checkpoints."""
    errors = evaluate(config)
    return float(errors.loc[errors["recording"] == "overall", "rmse_mv"].mean())


def _read_recordings(config: DictConfig, estimator: VoltageEstimator) -> VoltageDataModule:
    """Read the recordings as the training of an estimator did."""
    return read_recordings(
        config,
        "test",
        features=list(estimator.hparams["features"]),
        trained=PreparationSettings.of_estimator(estimator.hparams),
        trained_pairs=estimator.rc_pairs,  # a window starts with the states of the RC pairs, as in training
        rc_pairs=[],
    )


def _warn_of_other_evaluation(name: str, model: VoltageModel, evaluation: str) -> None:
    """Warn that intervals hold for the way of estimating in which they were calibrated."""
    if model.intervals is not None and model.data.evaluation.mode != evaluation:
        _log.warning(
            "%s: its prediction intervals were calibrated with sampling.evaluation=%s, so they need not hold here",
            name, model.data.evaluation.mode,
        )  # fmt: skip
