"""Lightning's trainer from the configuration."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from vestim_pl.configuration import build, plain
from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.functional.precision import resolve_precision
from vestim_pl.no_profiler import NoProfiler

__all__ = ["build_trainer"]

_log = logging.getLogger("vestim_pl")


def build_trainer(config: DictConfig) -> pl.Trainer:
    """Lightning's trainer with the callbacks and loggers of the configuration.

    Args:
        config: The composed configuration of ``conf/train.yaml``.

    Raises:
        ConfigurationError: If Lightning refuses the settings, as for a device that the machine does not have.

    """
    callbacks: list[Callback] = [build(node) for node in config.callbacks.values() if node is not None]
    if sys.stdout.isatty():
        callbacks.append(RichProgressBar(refresh_rate=20, leave=False))
    loggers = [build(node) for node in config.logger.values() if node is not None]
    options = {key: value for key, value in plain(config.trainer).items() if key != "_target_"}
    setting = options.get("precision")
    options["precision"] = resolve_precision(setting, options.get("accelerator", "auto"))
    if options.get("profiler") is None:
        options["profiler"] = NoProfiler()
    if options["precision"] != setting:
        _log.info("trainer.precision: %s is %s on this machine", setting, options["precision"])
    try:
        return pl.Trainer(
            **options, callbacks=callbacks, logger=loggers or False, enable_progress_bar=sys.stdout.isatty()
        )
    except (MisconfigurationException, TypeError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"trainer: {str(error).splitlines()[0]} ({_where_it_runs(options)})") from error


def _where_it_runs(options: Mapping[str, Any]) -> str:
    """What most often does not go with the machine, for messages."""
    found = ", ".join(
        f"trainer.{key}={options[key]}" for key in ("accelerator", "devices", "precision") if key in options
    )
    return f"{found}; trainer.accelerator=auto takes what the machine has"
