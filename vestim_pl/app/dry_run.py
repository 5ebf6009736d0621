"""A training that stops before its first step: what refuses its settings refuses them here."""

import copy
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig, open_dict

from vestim_pl.app.auto_resume import AUTO
from vestim_pl.app.trainer import build_trainer
from vestim_pl.data import VoltageDataModule
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.lightning_support.process_count import process_count

__all__ = ["rehearse"]

_log = logging.getLogger("vestim_pl")


class _RehearsedError(Exception):
    """Everything was built and agreed to the settings."""


class _StopBeforeFirstStep(Callback):
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        raise _RehearsedError


def rehearse(config: DictConfig, estimator: VoltageEstimator, datamodule: VoltageDataModule) -> pl.Trainer:
    """Begin a training as the configuration says, up to its first step, and leave nothing of it behind.

    Callbacks, trainer and scheduler refuse what does not go together when they are built or set up, so they are: on
    copies, in a folder that is thrown away, in one process, and with loggers that write nothing.

    Args:
        config: The composed configuration of ``conf/train.yaml``.
        estimator: As training would start with it; stays as it is.
        datamodule: The recordings, read; stays as it is.

    Returns:
        The trainer, with the limits that it works by.

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


def _given(ckpt_path: str | None) -> str | None:
    """A checkpoint that the command names; ``auto`` looks for one in the run's folder, which a rehearsal has not."""
    return None if ckpt_path == AUTO else ckpt_path


def _one_process(config: DictConfig) -> pl.Trainer:
    """The trainer; for a distributed training that of a single process, once the other could be built."""
    options = config.trainer
    devices, nodes = options.get("devices", "auto"), options.get("num_nodes", 1)
    trainer = build_trainer(config)
    if process_count(devices, options.get("accelerator", "auto"), nodes) == 1:
        return trainer
    with open_dict(options):
        options.devices, options.num_nodes, options.strategy = 1, 1, "auto"
    return build_trainer(config)


def _begin(
    trainer: pl.Trainer, estimator: VoltageEstimator, datamodule: VoltageDataModule, ckpt_path: str | None
) -> None:
    try:
        trainer.fit(estimator, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    except _RehearsedError:
        pass
    except (MisconfigurationException, RuntimeError) as error:
        told = str(error).splitlines()[0].partition(". HINT")[0]
        if re.search(r"metric `|monitored key", told):
            raise ConfigurationError(f"callbacks: {told}; correct its monitor") from error
        if isinstance(error, MisconfigurationException):
            raise ConfigurationError(f"trainer: {told}") from error
        raise


@contextmanager
def _silence() -> Iterator[None]:
    """What a training says at its start is not what a diagnosis has to say."""
    level = _log.level
    _log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _log.setLevel(level)
