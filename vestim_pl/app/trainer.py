"""Lightning's trainer from the configuration."""

import logging
import sys
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from vestim_pl.app.command import is_multirun
from vestim_pl.app.configuration import build, plain
from vestim_pl.callbacks import GracefulInterrupt, RandomStateCheckpoint
from vestim_pl.callbacks.runtime.checkpoint_interval import parse_interval
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.checkpoint_files import keep_checkpoints_whole
from vestim_pl.lightning_support.precision import resolve_precision
from vestim_pl.lightning_support.processes import process_count
from vestim_pl.lightning_support.stop_request import StopRequest, switch_off_handlers

__all__ = [
    "build_trainer",
    "process_count_of",
    "quiet_lightning",
    "refuse_multirun_of_several_processes",
    "refuse_wrong_checkpoints",
    "warn_of_missing_guards",
]

_log = logging.getLogger("vestim_pl")


class _NoProfiler(PassThroughProfiler):
    """Return one context again and again, where Lightning's makes about 100 a step: 0.12 to 0.16 ms less (2 cores)."""

    _nothing: AbstractContextManager[None] = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return self._nothing


def build_trainer(config: DictConfig, *more: Callback) -> pl.Trainer:
    """Build Lightning's trainer with the callbacks and loggers of the configuration, and ``more`` callbacks.

    Raises:
        ConfigurationError: If Lightning refuses the settings, as for a device that the machine does not have.

    """
    callbacks: list[Callback] = [build(node) for node in config.callbacks.values() if node is not None]
    # RandomStateCheckpoint first: it restores the generators before any callback draws from them or records their
    # state. GracefulInterrupt last: its checkpoint holds what all other callbacks do at the end of a batch.
    callbacks.sort(key=lambda each: isinstance(each, GracefulInterrupt) - isinstance(each, RandomStateCheckpoint))
    callbacks += more
    loggers = [build(node) for node in config.logger.values() if node is not None]
    options = {key: value for key, value in plain(config.trainer).items() if key != "_target_"}
    _validate_at_least_once(options)
    options.setdefault("enable_progress_bar", sys.stdout.isatty())
    if options["enable_progress_bar"] and sys.stdout.isatty():
        callbacks.append(RichProgressBar(refresh_rate=20, leave=False))
    setting = options.get("precision")
    options["precision"] = resolve_precision(setting, options.get("accelerator", "auto"))
    if options.get("profiler") is None:
        options["profiler"] = _NoProfiler()
    if options["precision"] != setting:
        _log.info("trainer.precision: %s is %s on this machine", setting, options["precision"])
    try:
        trainer = pl.Trainer(**options, callbacks=callbacks, logger=loggers or False)
    except (MisconfigurationException, ImportError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"trainer: {_refusal(str(error).splitlines()[0], options)}") from error
    keep_checkpoints_whole(trainer)
    if StopRequest.current() is not None:
        switch_off_handlers(trainer)
    return trainer


def refuse_multirun_of_several_processes(config: DictConfig) -> None:
    """Refuse several processes a job in a multirun.

    Lightning starts the other processes with this command line; with ``-m`` in it each would start the sweep again.

    Raises:
        ConfigurationError: With the number of processes.

    """
    if is_multirun() and (count := process_count_of(config)) > 1:
        raise ConfigurationError(
            f"trainer.devices: {config.trainer.get('devices', 'auto')} makes {count} processes a job, and in a multirun"
            " each would start the sweep again; use trainer.devices=1, and one command a device for several at once"
        )


def refuse_wrong_checkpoints(callbacks: Mapping[str, Any]) -> None:
    """Refuse a ModelCheckpoint that ranks by a stale metric or writes ``last.ckpt``, and an interval without meaning.

    Within an epoch the monitored metric is that of the previous validation, of other weights: the file kept as the best
    would be the first one written after a good validation, not the best one.

    Args:
        callbacks: The nodes of ``callbacks`` in the configuration, by name.

    Raises:
        ConfigurationError: With the setting.

    Example::

        >>> refuse_wrong_checkpoints({"a": {"_target_": "ModelCheckpoint", "monitor": "x", "every_n_train_steps": 9}})
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: callbacks.a.every_n_train_steps: 9 ...

    """
    parse_interval((callbacks.get("last_checkpoint") or {}).get("every"), "checkpoint_every")
    for name, node in callbacks.items():
        if not isinstance(node, Mapping) or not str(node.get("_target_", "")).endswith("ModelCheckpoint"):
            continue
        for key in ("every_n_train_steps", "train_time_interval"):
            if node.get("monitor") and node.get(key):
                raise ConfigurationError(
                    f"callbacks.{name}.{key}: {node[key]} would rank checkpoints by {node['monitor']} of an earlier"
                    " validation; remove it: last.ckpt is written within epochs by checkpoint_every='500 steps'"
                )
        if node.get("save_last") and callbacks.get("last_checkpoint"):
            raise ConfigurationError(
                f"callbacks.{name}.save_last: {node['save_last']} would write the best state as last.ckpt, over that of"
                " callbacks.last_checkpoint; remove it: last.ckpt is the last state already"
            )


def process_count_of(config: DictConfig) -> int:
    """Number of processes that the trainer of a configuration starts."""
    options = config.trainer
    return process_count(
        options.get("devices", "auto"), options.get("accelerator", "auto"), options.get("num_nodes", 1)
    )


def warn_of_missing_guards(config: DictConfig) -> None:
    """Warn where ``callbacks=[...]`` replaced the default callbacks and with them all guards; null shows intent."""
    if missing := [name for name in ("step_guard", "finite_parameters", "recovery") if name not in config.callbacks]:
        _log.warning(
            "callbacks: this training has no guards without the default ones (%s); callbacks=[default,...] adds"
            " to them",
            ", ".join(missing),
        )


def quiet_lightning() -> None:
    """Silence messages of Lightning that a user of the command cannot act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*Experiment logs directory .* exists and is not empty.*",  # the run folder holds more than the logger's file
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run's
        ".*does not have many workers.*",  # batches are gathered from memory
        ".*treespec, LeafSpec.*",  # Lightning's own use of torch
        ".*number of training batches.*smaller than the logging interval.*",  # the epoch's line has the training error
    ):
        warnings.filterwarnings("ignore", message=message)


def _validate_at_least_once(options: dict[str, Any]) -> None:
    """Validate at the end of a run that is shorter than the time between validations, so that it has a best one."""
    epochs, between = options.get("max_epochs"), options.get("check_val_every_n_epoch")
    if epochs and between and 0 < epochs < between:
        _log.info("trainer.check_val_every_n_epoch: %d is beyond trainer.max_epochs, so it is %d", between, epochs)
        options["check_val_every_n_epoch"] = epochs


def _refusal(reason: str, options: Mapping[str, Any]) -> str:
    """Add to Lightning's reason the settings that it is about."""
    about = [key for key in ("accelerator", "devices", "precision") if key in options]
    if not any(word in reason.lower() for word in ("backend", "device", "accelerator", "precision", "gpu", "cuda")):
        return reason
    found = ", ".join(f"trainer.{key}={options[key]}" for key in about)
    return f"{reason} ({found}; trainer.accelerator=auto takes what the machine has)"
