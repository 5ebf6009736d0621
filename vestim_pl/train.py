"""Train, validate and test a voltage estimator: ``python -m vestim_pl.train +preset=safer``."""

from vestim_pl.lightning_support import early_signals  # noqa: F401 - before torch, whose import takes seconds

# isort: split
import logging
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from vestim_pl.app.auto_resume import newest_checkpoint, resolve_checkpoint
from vestim_pl.app.checkpoint_settings import refuse_wrong_checkpoints
from vestim_pl.app.command import is_multirun, run_command
from vestim_pl.app.compilation import compile_network
from vestim_pl.app.configuration import build, plain
from vestim_pl.app.earlier_runs import prepare_folder
from vestim_pl.app.interruption import finish_first, now
from vestim_pl.app.machine_faults import machine_fault
from vestim_pl.app.processes import OtherProcesses
from vestim_pl.app.resume import refuse_missing_checkpoint, refuse_unfit_checkpoint
from vestim_pl.app.scoring import score_checkpoint
from vestim_pl.app.slurm import requeue_job, requeued_checkpoint
from vestim_pl.app.threads import choose_threads
from vestim_pl.app.trainer import build_trainer, quiet_lightning, tell_missing_guards
from vestim_pl.app.vestim import read_hyperparams
from vestim_pl.callbacks import GracefulInterrupt
from vestim_pl.callbacks.runtime.denormals import flush_denormals
from vestim_pl.data import VoltageDataModule
from vestim_pl.errors import (
    ConfigurationError,
    DivergenceError,
    FileError,
    ProcessError,
    VestimError,
    name_error,
    printable,
)
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.lightning_support.event_lines import append_event
from vestim_pl.lightning_support.events import Event, publish
from vestim_pl.lightning_support.process_count import process_count
from vestim_pl.lightning_support.restoring import failed_while_restoring
from vestim_pl.lightning_support.stop_request import Interrupted, StopRequest, is_first_process, signal_name
from vestim_pl.reports.provenance import write_provenance
from vestim_pl.reports.run_report import write_report
from vestim_pl.reports.sweep_report import report_sweep
from vestim_pl.settings.command_line import command_line

__all__ = ["TrainingRun", "build_estimator", "main", "reset_global_state", "train"]

_log = logging.getLogger("vestim_pl")
_NO_METRIC = r"metric `|monitored key"


@dataclass(frozen=True)
class TrainingRun:
    """What a training leaves: the parts, for those who call `train` from Python, and the figures.

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
        FileError: If the disk is full, the folder of the run is gone, and the like, with the last whole checkpoint.
        Interrupted: If a signal stopped it; checkpoint, event and report are written.

    """
    run_dir = Path(config.run_dir)
    try:
        trainer, estimator, datamodule, ckpt_path = _prepare(config)
    except Interrupted as stop:
        with suppress(OSError):
            _record_early_interrupt(config, stop)
            _report(config)
        raise
    try:
        _fit(trainer, estimator, datamodule, ckpt_path)
        run = _finish(config, trainer, estimator, datamodule)
    except Interrupted as stop:
        with suppress(OSError):
            _record_interrupt(trainer, stop, run_dir / "checkpoints" / "last.ckpt")
            _report(config)
        raise
    except Exception as error:  # a run that died gets its report, too
        _after_failure(config, trainer, error)
        if fault := machine_fault(error, run_dir):
            raise FileError(f"{fault}; {_what_is_kept(run_dir)}") from error
        raise
    _report(config)
    return run


def _prepare(config: DictConfig) -> tuple[pl.Trainer, VoltageEstimator, VoltageDataModule, str | None]:
    """Everything that a training needs, checked, and the checkpoint to resume from; the recordings are read."""
    now("reading the recordings", "nothing was trained; the same command starts again")
    vestim = _hyperparams(config)
    _refuse_a_sweep_of_several_processes(config)
    refuse_wrong_checkpoints(plain(config.callbacks))
    refuse_missing_checkpoint(config.ckpt_path)
    run_dir = Path(config.run_dir)
    ckpt_path = resolve_checkpoint(config.ckpt_path, run_dir) or requeued_checkpoint(run_dir)
    quiet_lightning()
    reset_global_state(config)
    datamodule: VoltageDataModule = build(config.data, sampling=build(config.sampling))
    datamodule.setup("fit")
    _log.info("recordings in %s\n%s", datamodule.root, datamodule.describe())
    estimator = build_estimator(config, datamodule)
    refuse_unfit_checkpoint(ckpt_path, estimator)
    compile_network(estimator, wanted=config.compile)
    tell_missing_guards(config)
    trainer = build_trainer(config)
    if trainer.is_global_zero and not config.trainer.get("fast_dev_run"):
        prepare_folder(run_dir, ckpt_path)
    choose_threads(trainer, estimator, datamodule.sampling, ckpt_path)
    write_provenance(run_dir, trainer, vestim)
    return trainer, estimator, datamodule, ckpt_path


def _finish(
    config: DictConfig, trainer: pl.Trainer, estimator: VoltageEstimator, datamodule: VoltageDataModule
) -> TrainingRun:
    """Test the best checkpoint of a training that ran through."""
    best, run_dir = _best_checkpoint(trainer), Path(config.run_dir)
    now("testing" if config.test else "ending", _test_advice(config, best))
    if bool(config.trainer.get("fast_dev_run")) or best is None or best.best_model_score is None:
        if not config.trainer.get("fast_dev_run"):
            _log.warning("no best checkpoint, so nothing was tested: %s", _why_no_best(config))
        return TrainingRun(estimator, datamodule, trainer, math.nan, "", None)
    _log.info("best validation RMSE %.2f mV, checkpoint %s", best.best_model_score, best.best_model_path)
    errors = score_checkpoint(trainer, estimator, datamodule, best.best_model_path, run_dir) if config.test else None
    now("ending", f"the training is complete, and everything is written, in {run_dir}")
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
    if any(isinstance(callback, GracefulInterrupt) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        now("starting the training", "nothing was trained; the same command starts again")
    else:
        now("training", "nothing was saved at the stop, because callbacks has no interrupt")
    others = OtherProcesses(Path(trainer.default_root_dir))
    try:
        trainer.fit(estimator, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    except VestimError:
        raise
    except Exception as error:
        if trainer.world_size > 1 and trainer.is_global_zero and (reason := others.error()):
            raise ProcessError(reason) from error  # what this process sees is a broken connection
        if failed_while_restoring(error):
            found = type(error).__name__ if isinstance(error, UnpicklingError) else printable(name_error(error))
            raise ConfigurationError(
                f"ckpt_path: {ckpt_path} cannot be resumed from ({found}): it is damaged or of a"
                " run with other settings; give another checkpoint"
            ) from error
        # Lightning's words for a metric that nothing logs
        if isinstance(error, MisconfigurationException | RuntimeError) and re.search(_NO_METRIC, str(error)):
            raise ConfigurationError(
                f"callbacks: {str(error).splitlines()[0].partition('. HINT')[0]}; correct its monitor"
            ) from error
        raise


def _after_failure(config: DictConfig, trainer: pl.Trainer, error: Exception) -> None:
    """Leave the reason and a report, as far as the machine allows; the command reports the error itself."""
    with suppress(OSError):  # the error may be that nothing can be written
        publish(trainer, "stop", str(error), level=logging.DEBUG, error=type(error).__name__)
        _report(config)


def _record_interrupt(trainer: pl.Trainer, stop: Interrupted, last: Path) -> None:
    """Leave an event, unless the callback that stopped the training has, and the command that continues."""
    request = StopRequest.current()
    if request is not None:
        request.children = list(getattr(trainer.strategy.launcher, "procs", []))
    if stop.reported and request is not None:
        saved = last.is_file() and HydraConfig.initialized()
        request.advice = f"to resume: {resume_command(last)}" if saved else "no checkpoint was written"
    elif not stop.reported:
        publish(trainer, "interrupt", stop.reason, level=logging.DEBUG, signal=signal_name(stop.signal))


def _record_early_interrupt(config: DictConfig, stop: Interrupted) -> None:
    """Leave the event of a run that was stopped before there was a trainer."""
    log = config.callbacks.get("event_log")
    if log is not None and is_first_process():
        event = Event("interrupt", stop.reason, epoch=0, step=0, values={"signal": signal_name(stop.signal)})
        Path(log.path).parent.mkdir(parents=True, exist_ok=True)
        append_event(Path(log.path), event.as_dict())


def _test_advice(config: DictConfig, best: ModelCheckpoint | None) -> str:
    """What is kept of a training whose test is stopped, and the command that makes the same test."""
    if best is None or not HydraConfig.initialized():
        return f"the training is complete, in {config.run_dir}"
    sampling = [
        f"sampling.{key}={'null' if config.sampling[key] is None else config.sampling[key]}"
        for key in ("evaluation", "lookback", "horizon", "burn_in")
        if key in config.sampling
    ]
    data = [
        o
        for o in HydraConfig.get().overrides.task
        if re.match(r"data(=|\.(?!features|rc_pairs|cold_factor|splits))", o)
    ]
    test = command_line("vestim_pl.evaluate", f"ckpt_path={best.best_model_path}", *data, *sampling)
    return f"the training is complete; to test its best checkpoint: {test}"


def _report(config: DictConfig) -> None:
    """Write the report of the run.

    Raises:
        FileError: If it cannot be written, with the command that tries again.

    """
    if config.trainer.get("fast_dev_run") or not is_first_process():
        return
    run_dir = Path(config.run_dir)
    again = command_line("vestim_pl.reports.run_report", str(run_dir))
    try:
        with finish_first("writing the report"):
            _log.info("report: %s", write_report(run_dir))
    except (FileError, NotADirectoryError) as error:
        raise FileError(f"{error}; then write the report with: {again}") from error
    except Exception:  # nothing computed is lost for want of a picture
        _log.exception("the report could not be written; %s tries again", again)


def _what_is_kept(run_dir: Path) -> str:
    """The newest whole checkpoint of a run that the machine stopped, and how to resume from it."""
    try:
        found = newest_checkpoint(run_dir / "checkpoints")
    except VestimError:
        found = None
    if found is None:
        return "there is no complete checkpoint to resume from"
    path, checkpoint = found
    step = checkpoint["global_step"]
    return f"checkpoints/{path.name} of step {step:,} is complete; then resume with: {resume_command(path)}"


def resume_command(checkpoint: Path) -> str:
    """The command line that resumes from a checkpoint with the settings of this run.

    It does not need the file of ``vestim=FILE``, whose settings are among the others, but it does need the folders of
    ``--config-dir``.
    """
    options: list[str] = []
    given: list[str] = []
    if HydraConfig.initialized():
        config = HydraConfig.get()
        folders = [source.path for source in config.runtime.config_sources if source.provider == "command-line"]
        options = [text for folder in folders for text in ("--config-dir", folder)]
        given = [o for o in config.overrides.task if not re.match(r"ckpt_path=|\+{0,2}vestim=", o)]
    return command_line("vestim_pl.train", *options, *given, f"ckpt_path={checkpoint}")


def _hyperparams(config: DictConfig) -> dict[str, Any] | None:
    """File and values of ``vestim=FILE``, for the provenance."""
    if not config.get("vestim"):
        return None
    if not HydraConfig.initialized():
        raise ConfigurationError(
            f"vestim: {config.vestim} is read by the command line alone; in Python, add"
            " vestim_pl.app.vestim.overrides(convert_file(...).settings) to the overrides"
        )
    return {"file": str(config.vestim), "values": read_hyperparams(str(config.vestim))}


def _best_checkpoint(trainer: pl.Trainer) -> ModelCheckpoint | None:
    kept = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.best_model_path]
    return kept[0] if kept else None


def _why_no_best(config: DictConfig) -> str:
    if config.callbacks.get("checkpoint") is None:
        return "callbacks has no checkpoint; write callbacks=[default,...] to add to the default ones"
    return "no validation ended; mind trainer.check_val_every_n_epoch and trainer.limit_val_batches"


if __name__ == "__main__":
    run_command(main, "train", after_multirun=report_sweep)
