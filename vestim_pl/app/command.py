"""Run a command: Hydra's overrides, one line for a mistake, and a conventional exit status.

This module imports neither torch nor Lightning, which takes seconds: the command line is composed and checked first.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vestim_pl.app.conf_tree import conf_folder, flat_keys
from vestim_pl.app.interruption import ends_in_one_line, finish_first
from vestim_pl.app.log_handlers import log_to_file
from vestim_pl.app.machine_faults import causes, close_output, machine_fault
from vestim_pl.app.override_mistakes import explain, explain_reference
from vestim_pl.app.processes import OtherProcesses, leave_terminal_to_first
from vestim_pl.app.refusal import RefusedRun, refuse_mistakes
from vestim_pl.app.slurm import job_folder
from vestim_pl.app.vestim import expand
from vestim_pl.errors import FileError, ProcessError, VestimError
from vestim_pl.lightning_support.stop_request import is_first_process

__all__ = ["Task", "is_multirun", "run_command", "run_folder"]

Task = Callable[[DictConfig], float | None]

_log = logging.getLogger("vestim_pl")
_WITH_HYPERPARAMS = ("train", "diagnose")  # commands that take vestim=FILE


def run_folder(ckpt_path: str | None, now: datetime | None = None) -> str:
    """Name the folder of a run: that of the checkpoint it resumes from, else a new one under ``outputs/``.

    ``auto`` takes the run under ``outputs/`` that wrote a checkpoint last, if there is one. A new folder is named after
    the date and time. In a Slurm batch job it is named after job and command, so that a requeued job finds its run.

    Example::

        >>> run_folder(None, datetime(2026, 1, 2, 3, 4, 5))
        'outputs/2026-01-02/03-04-05'
        >>> run_folder("outputs/2026-01-02/03-04-05/checkpoints/last.ckpt")
        'outputs/2026-01-02/03-04-05'

    """
    if ckpt_path == "auto":
        outputs = Path("outputs")
        written = [*outputs.glob("*/checkpoints/*.ckpt"), *outputs.glob("*/*/checkpoints/*.ckpt")]
        ckpt_path = str(max(written, key=lambda path: path.stat().st_mtime)) if written else None
    if isinstance(ckpt_path, str) and Path(ckpt_path).parent.name == "checkpoints":  # a list is refused later
        return str(Path(ckpt_path).parent.parent)
    dated = (now or datetime.now()).strftime("outputs/%Y-%m-%d/%H-%M-%S")
    return dated if now else job_folder(sys.argv[1:]) or dated


OmegaConf.register_new_resolver("run_folder", run_folder, use_cache=True, replace=True)


def run_command(
    task: Task | str, config_name: str, after_multirun: Callable[[Path], object] | str | None = None
) -> list[Any]:
    """Compose the configuration from the command line and run the task in its run folder.

    A mistake of the user, and an error of the machine (a full disk, a missing folder), end in one line on standard
    error and a non-zero exit status; ``HYDRA_FULL_ERROR=1`` shows the traceback as well. In a multirun a failed job
    does not stop the others. For Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 see `ends_in_one_line`.

    Args:
        task: Takes the configuration, returns the number that a sweeper minimises. As ``module:function`` it is
            imported only for a command line without mistakes.
        config_name: Name of the root configuration in ``conf/``.
        after_multirun: Takes the folder of a multirun when its jobs have ended, failed ones included; a function, or
            ``module:function``.

    Returns:
        What the task returned, for each job; nothing for ``--help`` and ``--cfg``.

    """
    with ends_in_one_line():
        return _run_command(task, config_name, after_multirun)


def _run_command(
    task: Task | str, config_name: str, after_multirun: Callable[[Path], object] | str | None
) -> list[Any]:
    # The further processes of a training inherit this environment, and must find what the user had set.
    wants_traceback = os.environ.setdefault("VESTIM_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR", "0")) == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises the error instead of printing it
    outcome = _Outcome()
    try:
        job = _job(task, config_name, outcome, _expand_hyperparams(config_name))
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(job)()
    except RefusedRun as refused:
        outcome.errors.append(refused.error)
    except Exception as error:  # of the user, of the machine, or a bug of ours, which is raised again below
        outcome.errors.insert(0, error)
    finally:
        if after_multirun and outcome.folder and outcome.is_multirun:
            with finish_first("writing the report of the sweep"):
                _collect(outcome, lambda folder: _imported(after_multirun)(folder), outcome.folder)
        _collect(outcome, close_output)
    if not outcome.errors:
        return outcome.results
    if isinstance(outcome.errors[0], ProcessError):  # the process that failed prints its own line
        sys.exit(1)
    line = None if wants_traceback else _one_line(outcome.errors[0], config_name, outcome.folder)
    if line is None:
        raise outcome.errors[0]
    print(f"error: {line}", file=sys.stderr)
    sys.exit(1)


@dataclass
class _Outcome:
    """How a command went.

    Attributes:
        results: What the task returned, for each job that ended well.
        errors: Errors; the first one is reported.
        folder: Folder of the run or multirun; None until the first job starts, while only Hydra writes.
        is_multirun: Whether the job is one of several.

    """

    results: list[Any] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    folder: Path | None = None
    is_multirun: bool = False


def _collect(outcome: _Outcome, function: Callable[..., object], *arguments: Any) -> None:
    """Call a function after the task; its error is reported where the task had none."""
    try:
        function(*arguments)
    except Exception as error:
        outcome.errors.append(error)


def _imported(function: Callable[..., Any] | str) -> Callable[..., Any]:
    """Import a function that is given as ``module:function``."""
    return resolve_name(function) if isinstance(function, str) else function


def _one_line(error: Exception, config_name: str, folder: Path | None) -> str | None:
    """Explain an error in one line; None for a bug of ours, which keeps its traceback."""
    if isinstance(error, HydraException):
        return explain(error, _valid_keys(config_name), sys.argv[1:])
    if isinstance(error, OmegaConfBaseException):
        return explain_reference(error)
    if isinstance(error, VestimError):
        return str(error)
    if str(error).startswith("Config group override must be a string or a list"):  # Hydra's, of no class of its own
        return (
            "a group of settings cannot be null; choose one of its files, or set its parts to null, such as"
            " logger.csv=null"
        )
    if folder is not None:
        return machine_fault(error, folder)
    cause = next((cause for cause in causes(error) if isinstance(cause, OSError)), None)
    if cause is None:
        return None
    where = cause.filename or "its files"
    return (
        f"hydra.run.dir: {where} cannot be made or written to: {cause.strerror or cause}; name another folder with"
        " hydra.run.dir=..."
    )


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


def _job(task: Task | str, config_name: str, outcome: _Outcome, announcement: str) -> Task:
    """Make the function that Hydra calls for every job: check the configuration, import the task, run it.

    A mistake in a single run is kept in ``outcome``, because Hydra would print a line of its own. In a multirun it is
    logged and raised, so that Hydra counts the job as failed and starts the next. The ``announcement`` is printed once
    and written to the log file of every job.
    """

    def job(config: DictConfig) -> float | None:
        is_first_job = outcome.folder is None
        outcome.is_multirun, folder = is_multirun(), Path(HydraConfig.get().runtime.output_dir)
        outcome.folder = Path(HydraConfig.get().sweep.dir).absolute() if outcome.is_multirun else folder
        leave_terminal_to_first()
        first = None if is_first_process() else OtherProcesses(folder)
        if announcement and is_first_job:
            _log.info("%s", announcement)
        elif announcement:
            log_to_file(announcement, logging.INFO)
        try:
            with _machine_faults(folder):
                refuse_mistakes(config)
                outcome.results.append(_imported(task)(config))
            return outcome.results[-1]
        except (VestimError, OmegaConfBaseException) as error:
            if outcome.is_multirun:
                _log.error("error: %s", error)
                raise
            log_to_file(f"error: {error}", logging.ERROR)
            _exit_if_reported(first)
            outcome.errors.append(error)
            return None
        except Exception:
            log_to_file("an error of the program, please report it:", logging.ERROR, sys.exc_info())
            _exit_if_reported(first)
            raise

    job.__module__ = f"vestim_pl.{config_name}"  # Hydra derives the name of the job from it
    return job


@contextmanager
def _machine_faults(folder: Path) -> Iterator[None]:
    """Turn an error that the machine caused within the block into one line."""
    try:
        yield
    except VestimError:
        raise
    except Exception as error:
        if fault := machine_fault(error, folder):
            raise FileError(fault) from error
        raise


def _exit_if_reported(first: OtherProcesses | None) -> None:
    """Exit another process than the first without a line of its own where the first process reported an error."""
    if first is not None and first.error():
        sys.exit(1)


def _valid_keys(config_name: str) -> list[str]:
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return list(flat_keys(hydra.compose(config_name)))
