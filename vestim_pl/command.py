"""What every command shares: one grammar (Hydra overrides), one line for a mistake, an exit status that tells."""

import logging
import os
import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vestim_pl.app.vestim import expand
from vestim_pl.configuration import check, conf_folder, flat_keys
from vestim_pl.functional.denormals import flush_denormals
from vestim_pl.functional.errors import ConfigurationError, VestimError
from vestim_pl.override_mistakes import explain

__all__ = ["is_multirun", "run_command", "run_folder"]

_log = logging.getLogger("vestim_pl")
_WITH_HYPERPARAMS = ("train", "diagnose")  # commands that take vestim=FILE


def run_folder(ckpt_path: str | None, now: datetime | None = None) -> str:
    """Folder of a run: that of the checkpoint it goes on from, else a new one under ``outputs/``.

    Example::

        >>> run_folder(None, datetime(2026, 1, 2, 3, 4, 5))
        'outputs/2026-01-02/03-04-05'
        >>> run_folder("outputs/2026-01-02/03-04-05/checkpoints/last.ckpt")
        'outputs/2026-01-02/03-04-05'

    """
    if ckpt_path and Path(ckpt_path).parent.name == "checkpoints":
        return str(Path(ckpt_path).parent.parent)
    return (now or datetime.now()).strftime("outputs/%Y-%m-%d/%H-%M-%S")


OmegaConf.register_new_resolver("run_folder", run_folder, use_cache=True, replace=True)


def run_command(
    task: Callable[[DictConfig], float | None],
    config_name: str,
    after_multirun: Callable[[Path], object] | None = None,
) -> None:
    """Compose the configuration from the command line and run the task in its run folder.

    A mistake of the user ends in one line on standard error and a non-zero exit status; ``HYDRA_FULL_ERROR=1`` shows
    the traceback as well. In a multirun a failed job does not stop the others.

    Args:
        task: Takes the configuration, returns the number that a sweeper minimises.
        config_name: Name of the root configuration in ``conf/``.
        after_multirun: Takes the folder of a multirun when its jobs have ended, failed ones included.

    """
    flush_denormals()  # before the first parallel operation starts the workers, see FlushDenormals
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands the error to us instead of printing it
    mistakes: list[Exception] = []
    started: list[Path | None] = []
    try:
        guarded = _guarded(task, mistakes, started, _expand_hyperparams(config_name))
        try:
            hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(guarded)()
        finally:
            if after_multirun and started and (folder := started[0]):
                after_multirun(folder)
        if mistakes:
            raise mistakes[0]
    except (VestimError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        message = explain(error, _valid_keys(config_name)) if isinstance(error, HydraException) else str(error)
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if wants_traceback or started:
            raise
        print(
            f"error: hydra.run.dir: {error.filename} cannot be made or written to: {error.strerror}; name another"
            " folder with hydra.run.dir=...",
            file=sys.stderr,
        )
        sys.exit(1)
    except ValueError as error:
        group = re.match(
            "Config group override must be a string or a list", str(error)
        )  # Hydra's, of no class of its own
        if wants_traceback or not group:
            raise
        print(
            "error: a group of settings cannot be null; choose one of its files, or set its parts to null, such as"
            " logger.csv=null",
            file=sys.stderr,
        )
        sys.exit(1)


def is_multirun() -> bool:
    """Whether this is a job of a command with ``-m``."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def _expand_hyperparams(config_name: str) -> str:
    """Replace ``vestim=FILE`` on the command line by the settings that the file asks for.

    Returns:
        What became of every key of the file; empty without one.

    """
    if config_name not in _WITH_HYPERPARAMS:
        return ""
    expansion = expand(sys.argv[1:], f"vestim_pl.{config_name}")
    if expansion is None:
        return ""
    sys.argv[1:] = expansion.arguments
    return expansion.table


def _guarded(
    task: Callable[[DictConfig], float | None],
    mistakes: list[Exception],
    started: list[Path | None],
    announcement: str = "",
) -> Callable[[DictConfig], float | None]:
    """The task, after the configuration was checked.

    A mistake in a single run is handed over in ``mistakes``, since Hydra would add a line of its own; in a multirun it
    is logged and raised, so that Hydra counts the job as failed and goes on with the next. ``started`` gets the
    folder of the multirun, or None: before, it is Hydra that writes. The ``announcement`` goes to the log file of every
    job, and to the terminal once.
    """

    def guarded(config: DictConfig) -> float | None:
        if announcement and not started:
            _log.info("%s", announcement)
        elif announcement:
            _tell_log_file(announcement, level=logging.INFO)
        started.append(Path(HydraConfig.get().sweep.dir).absolute() if is_multirun() else None)
        try:
            _refuse_missing(config)
            _refuse_other_folder(config)
            check(config)
            return task(config)
        except (VestimError, OmegaConfBaseException) as error:
            if is_multirun():
                _log.error("error: %s", error)
                raise
            _tell_log_file(f"error: {error}")
            mistakes.append(error)
            return None
        except Exception:
            _tell_log_file("an error of the program, please report it:", sys.exc_info())
            raise

    guarded.__module__ = task.__module__
    return guarded


def _tell_log_file(text: str, traceback: Any = None, level: int = logging.ERROR) -> None:
    """Log to the file alone what the terminal has had already."""
    record = _log.makeRecord(_log.name, level, __file__, 0, "%s", (text,), traceback)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _refuse_missing(config: DictConfig) -> None:
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigurationError(f"{missing[0]}: has no value; give it on the command line: {missing[0]}=...")


def _refuse_other_folder(config: DictConfig) -> None:
    """Hydra has written settings and log into its own folder by now, and a run in another would lack them."""
    folder, chosen = HydraConfig.get().runtime.output_dir, config.get("run_dir", None)
    if chosen is not None and Path(str(chosen)).absolute() != Path(folder).absolute():
        raise ConfigurationError(
            f"run_dir: {chosen} is not where Hydra writes settings and log ({folder}); choose the folder of a run with"
            f" hydra.run.dir={chosen}"
        )


def _valid_keys(config_name: str) -> list[str]:
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return list(flat_keys(hydra.compose(config_name)))
