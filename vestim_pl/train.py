"""Train, validate and test a voltage estimator: ``python -m vestim_pl.train +preset=safer``."""

import logging
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from vestim_pl.app.earlier_runs import prepare_folder
from vestim_pl.app.processes import OtherProcesses
from vestim_pl.callbacks.graceful_interrupt import GracefulInterrupt
from vestim_pl.command import is_multirun, run_command
from vestim_pl.compilation import compile_network
from vestim_pl.configuration import build, plain
from vestim_pl.data import VoltageDataModule
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.evaluation import score_checkpoint
from vestim_pl.functional.command_line import command_line
from vestim_pl.functional.denormals import flush_denormals
from vestim_pl.functional.errors import ConfigurationError, DivergenceError, ProcessError, VestimError
from vestim_pl.functional.events import publish
from vestim_pl.functional.process_count import process_count
from vestim_pl.reports.provenance import write_provenance
from vestim_pl.reports.run_report import write_report
from vestim_pl.reports.sweep_report import report_sweep
from vestim_pl.resume import refuse_missing_checkpoint, refuse_unfit_checkpoint
from vestim_pl.trainer import build_trainer, quiet_lightning, tell_missing_guards

__all__ = ["TrainingRun", "build_estimator", "main", "reset_global_state", "train"]

_log = logging.getLogger("vestim_pl")


@dataclass(frozen=True)
class TrainingRun:
    """What a training leaves: the parts, for those who call :func:`train` from Python, and the figures.

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


def train(config: DictConfig) -> TrainingRun:
    """Train as the configuration says, and test the best checkpoint.

    Global switches are set anew from the configuration on every call, so that one job of a multirun leaves nothing to
    the next.

    Args:
        config: The composed configuration of ``conf/train.yaml``.

    Raises:
        ConfigurationError: If settings contradict each other.
        DataError: If a recording cannot be used.
        DivergenceError: If training diverged and nothing could recover it.

    """
    run_dir = Path(config.run_dir)
    _refuse_a_sweep_of_several_processes(config)
    refuse_missing_checkpoint(config.ckpt_path)
    quiet_lightning()
    reset_global_state(config)
    datamodule: VoltageDataModule = build(config.data, sampling=build(config.sampling))
    datamodule.setup("fit")
    _log.info("recordings in %s\n%s", datamodule.root, datamodule.describe())
    estimator = build_estimator(config, datamodule)
    refuse_unfit_checkpoint(config.ckpt_path, estimator)
    compile_network(estimator, wanted=config.compile)
    tell_missing_guards(config)
    trainer = build_trainer(config)
    if trainer.is_global_zero and not config.trainer.get("fast_dev_run"):
        prepare_folder(run_dir, config.ckpt_path)
    write_provenance(run_dir, trainer)
    try:
        _fit(trainer, estimator, datamodule, config.ckpt_path)
        return _finish(config, trainer, estimator, datamodule)
    except Exception as error:  # for the report: the command tells it to the terminal and the log
        publish(trainer, "stop", str(error), level=logging.DEBUG, error=type(error).__name__)
        raise
    finally:  # a run that died has a story to tell, too
        _report(run_dir, wanted=trainer.is_global_zero and not config.trainer.get("fast_dev_run"))


def _finish(
    config: DictConfig, trainer: pl.Trainer, estimator: VoltageEstimator, datamodule: VoltageDataModule
) -> TrainingRun:
    """Test the best checkpoint of a training that ran through."""
    best, run_dir = _best_checkpoint(trainer), Path(config.run_dir)
    if bool(config.trainer.get("fast_dev_run")) or best is None or best.best_model_score is None:
        if not config.trainer.get("fast_dev_run"):
            _log.warning("no best checkpoint, so nothing was tested: %s", _why_no_best(config))
        return TrainingRun(estimator, datamodule, trainer, math.nan, "", None)
    _log.info("best validation RMSE %.2f mV, checkpoint %s", best.best_model_score, best.best_model_path)
    errors = score_checkpoint(trainer, estimator, datamodule, best.best_model_path, run_dir) if config.test else None
    return TrainingRun(estimator, datamodule, trainer, float(best.best_model_score), best.best_model_path, errors)


def build_estimator(config: DictConfig, datamodule: VoltageDataModule) -> VoltageEstimator:
    """Estimator of the configuration, its scaler fitted on the training recordings alone."""
    specs = {key: plain(config[key]) for key in ("network", "optimizer", "scheduler")}
    rc_pairs = datamodule.rc_pairs.options if datamodule.rc_pairs else None
    estimator = VoltageEstimator(features=datamodule.features, rc_pairs=rc_pairs, **specs)
    table = datamodule.table("train")
    estimator.scaler.fit(table.inputs, table.target)
    return estimator


def main(config: DictConfig) -> float | None:
    """Task of the command: train, and return the best validation RMSE in mV for sweepers; never NaN."""
    run = train(config)
    if not run.best_checkpoint:
        return None
    if not math.isfinite(run.best_val_rmse_mv):
        raise DivergenceError(
            f"validation RMSE is {run.best_val_rmse_mv} mV: training diverged; lower optimizer.lr or take +preset=safer"
        )
    return run.best_val_rmse_mv


def _refuse_a_sweep_of_several_processes(config: DictConfig) -> None:
    """Lightning starts the other ranks with this command line; with ``-m`` in it each would start the sweep again."""
    devices, nodes = config.trainer.get("devices", "auto"), config.trainer.get("num_nodes", 1)
    if is_multirun() and (count := process_count(devices, config.trainer.get("accelerator", "auto"), nodes)) > 1:
        raise ConfigurationError(
            f"trainer.devices: {devices} makes {count} processes a job, and in a multirun each would start the sweep"
            " again; use trainer.devices=1, and one command a device for several at once"
        )


def reset_global_state(config: DictConfig) -> None:
    """Set anew what belongs to the process and not to a run: seeds and switches of torch."""
    flush_denormals(config.callbacks.get("flush_denormals") is not None)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("high")
    torch.autograd.set_detect_anomaly(False)
    pl.seed_everything(config.seed, workers=True, verbose=False)


def _fit(
    trainer: pl.Trainer, estimator: VoltageEstimator, datamodule: VoltageDataModule, ckpt_path: str | None
) -> None:
    interrupt = next((c for c in trainer.callbacks if isinstance(c, GracefulInterrupt)), None)  # type: ignore[attr-defined]
    others = OtherProcesses(Path(trainer.default_root_dir))
    try:
        trainer.fit(estimator, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    except (MisconfigurationException, RuntimeError) as error:  # Lightning's words for a metric that nobody logs
        of_ours = isinstance(error, VestimError) or trainer.world_size == 1 or not trainer.is_global_zero
        if not of_ours and (reason := others.error()):
            raise ProcessError(reason) from error  # what this process sees is a broken connection
        if not re.search(r"metric `|monitored key", str(error)):
            raise
        raise ConfigurationError(
            f"callbacks: {str(error).splitlines()[0].partition('. HINT')[0]}; correct its monitor"
        ) from error
    except SystemExit:  # Lightning's answer to Ctrl-C
        if interrupt is not None and interrupt.checkpoint.is_file():
            _log.info("to go on: %s", resume_command(interrupt.checkpoint))
        sys.exit(130)


def _report(run_dir: Path, wanted: bool) -> None:
    if not wanted:
        return
    try:
        _log.info("report: %s", write_report(run_dir))
    except Exception:  # nothing computed is lost for want of a picture
        _log.exception(
            "the report could not be written; %s tries again",
            command_line("vestim_pl.reports.run_report", str(run_dir)),
        )


def resume_command(checkpoint: Path) -> str:
    """The command line that goes on from a checkpoint with the settings of this run."""
    overrides = [o for o in HydraConfig.get().overrides.task if not o.startswith("ckpt_path=")]
    return command_line("vestim_pl.train", *overrides, f"ckpt_path={checkpoint}")


def _best_checkpoint(trainer: pl.Trainer) -> ModelCheckpoint | None:
    kept = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.best_model_path]
    return kept[0] if kept else None


def _why_no_best(config: DictConfig) -> str:
    if config.callbacks.get("checkpoint") is None:
        return "callbacks has no checkpoint; write callbacks=[default,...] to add to the default ones"
    return "no validation ended; mind trainer.check_val_every_n_epoch and trainer.limit_val_batches"


if __name__ == "__main__":
    run_command(main, "train", after_multirun=report_sweep)
