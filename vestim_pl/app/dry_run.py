"""A training that stops before its first step, so that it refuses its settings and changes nothing."""

import copy
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig, open_dict

from vestim_pl.app.fitting import explain_missing_metric
from vestim_pl.app.resume import AUTO
from vestim_pl.app.trainer import build_trainer, process_count_of
from vestim_pl.data import VoltageDataModule
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.lightning_support.precision import resolve_precision

__all__ = ["dry_run", "idle_trainer"]

_log = logging.getLogger("vestim_pl")


class _StoppedError(Exception):
    """The first step is reached: every part accepted the settings."""


class _StopBeforeFirstStep(Callback):
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        raise _StoppedError


def dry_run(config: DictConfig, estimator: VoltageEstimator, datamodule: VoltageDataModule) -> pl.Trainer:
    """Start a training as the configuration says, stop before its first step, and leave nothing behind.

    Callbacks, trainer and scheduler check settings that contradict each other when they are built or set up. Here this
    happens on copies, in a temporary folder, in one process, and with loggers that write nothing.

    Args:
        config: The composed configuration of ``conf/train.yaml``.
        estimator: As training would start with it; not changed.
        datamodule: The recordings, read; not changed.

    Returns:
        The trainer, with its limits on batches resolved.

    Raises:
        ConfigurationError: As `train` raises it.

    """
    with tempfile.TemporaryDirectory() as folder, _silence(), isolate_rng():
        config = copy.deepcopy(config)
        config.run_dir = folder
        trainer = _one_process(config)
        trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, ProgressBar)]  # type: ignore[attr-defined]
        trainer.callbacks.append(_StopBeforeFirstStep())  # type: ignore[attr-defined]
        trainer.loggers = [DummyLogger() for _ in trainer.loggers]
        trainer.num_sanity_val_steps = 0
        _begin(trainer, copy.deepcopy(estimator), copy.copy(datamodule), _given(config.ckpt_path))
        return trainer


def idle_trainer(config: DictConfig) -> pl.Trainer:
    """Build a trainer that only has device and precision, which `dry_run` has checked; it fits and writes nothing."""
    accelerator = config.trainer.get("accelerator", "auto")
    precision = resolve_precision(config.trainer.get("precision"), accelerator)
    return pl.Trainer(
        accelerator=accelerator, devices=1, precision=cast("Any", precision), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def _given(ckpt_path: str | None) -> str | None:
    """The checkpoint that the command names; ``auto`` looks in the folder of the run, which a dry run does not have."""
    return None if ckpt_path == AUTO else ckpt_path


def _one_process(config: DictConfig) -> pl.Trainer:
    """Build the trainer; for several processes build it first to check it, then one of a single process."""
    options = config.trainer
    trainer = build_trainer(config)
    if process_count_of(config) == 1:
        return trainer
    with open_dict(options):
        options.devices, options.num_nodes, options.strategy = 1, 1, "auto"
    return build_trainer(config)


def _begin(
    trainer: pl.Trainer, estimator: VoltageEstimator, datamodule: VoltageDataModule, ckpt_path: str | None
) -> None:
    try:
        trainer.fit(estimator, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    except _StoppedError:
        pass
    except (MisconfigurationException, RuntimeError) as error:
        if reason := explain_missing_metric(error):
            raise ConfigurationError(reason) from error
        if isinstance(error, MisconfigurationException):
            raise ConfigurationError(f"trainer: {str(error).splitlines()[0].partition('. HINT')[0]}") from error
        raise


@contextmanager
def _silence() -> Iterator[None]:
    """Silence what a training logs at its start, which is no part of a diagnosis."""
    level = _log.level
    _log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _log.setLevel(level)
