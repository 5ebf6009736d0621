"""What every command shares: one grammar (Hydra overrides), one line for a mistake, an exit status that tells."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vestim_pl.app.configuration import check, conf_folder, flat_keys
from vestim_pl.app.interruption import ends_in_one_line, finish_first
from vestim_pl.app.machine_faults import causes, close_output, machine_fault
from vestim_pl.app.override_mistakes import explain
from vestim_pl.app.processes import OtherProcesses, leave_terminal_to_first
from vestim_pl.app.slurm import job_folder
from vestim_pl.app.vestim import expand
from vestim_pl.callbacks.runtime.denormals import flush_denormals
from vestim_pl.errors import ConfigurationError, FileError, ProcessError, VestimError
from vestim_pl.lightning_support.stop_request import is_first_process

__all__ = ["is_multirun", "run_command", "run_folder"]

_log = logging.getLogger("vestim_pl")
_WITH_HYPERPARAMS = ("train", "diagnose")  # commands that take vestim=FILE


def run_folder(ckpt_path: str | None, now: datetime | None = None) -> str:
    """Folder of a run: that of the checkpoint it resumes from, else one under ``outputs/``.

    ``auto`` takes the run under ``outputs/`` that wrote a checkpoint last, if there is one. A new folder is named after
    the date and time, or in a Slurm batch job after job and command, so that a requeued job finds its run.

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
    if ckpt_path and Path(ckpt_path).parent.name == "checkpoints":
        return str(Path(ckpt_path).parent.parent)
    dated = (now or datetime.now()).strftime("outputs/%Y-%m-%d/%H-%M-%S")
    return dated if now else job_folder(sys.argv[1:]) or dated


OmegaConf.register_new_resolver("run_folder", run_folder, use_cache=True, replace=True)


def run_command(
    task: Callable[[DictConfig], float | None],
    config_name: str,
    after_multirun: Callable[[Path], object] | None = None,
) -> None:
    """Compose the configuration from the command line and run the task in its run folder.

    A mistake of the user, and what the machine refuses (a full disk, a folder that is gone), end in one line on
    standard error and a non-zero exit status; ``HYDRA_FULL_ERROR=1`` shows the traceback as well. In a multirun a
    failed job does not stop the others. Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 end the command in an orderly way, see
    `ends_in_one_line`.

    Args:
        task: Takes the configuration, returns the number that a sweeper minimises.
        config_name: Name of the root configuration in ``conf/``.
        after_multirun: Takes the folder of a multirun when its jobs have ended, failed ones included.

    """
    with ends_in_one_line():
        _run_command(task, config_name, after_multirun)


def _run_command(
    task: Callable[[DictConfig], float | None],
    config_name: str,
    after_multirun: Callable[[Path], object] | None,
) -> None:
    flush_denormals()  # before the first parallel operation starts the workers, see FlushDenormals
    # The further processes of a training inherit what is set here, and must find what the user had set.
    wants_traceback = os.environ.setdefault("VESTIM_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR", "0")) == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands the error to us instead of printing it
    course = _Course()
    try:
        guarded = _guarded(task, course, _expand_hyperparams(config_name))
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(guarded)()
    except Exception as error:  # of the user, of the machine, or a bug of ours, which is raised again below
        course.errors.insert(0, error)
    finally:
        if after_multirun and course.folder and course.is_multirun:
            with finish_first("writing the report of the sweep"):
                _collect(course, after_multirun, course.folder)
        _collect(course, close_output)
    if not course.errors:
        return
    if isinstance(course.errors[0], ProcessError):  # the process that failed prints its own line
        sys.exit(1)
    line = None if wants_traceback else _one_line(course.errors[0], config_name, course.folder)
    if line is None:
        raise course.errors[0]
    print(f"error: {line}", file=sys.stderr)
    sys.exit(1)


@dataclass
class _Course:
    """How a command went.

    Attributes:
        errors: Errors, the one that counts first.
        folder: The folder of the run or multirun, None before the task starts: until then it is Hydra that writes.
        is_multirun: Whether the task is a job of several.

    """

    errors: list[Exception] = field(default_factory=list)
    folder: Path | None = None
    is_multirun: bool = False


def _collect(course: _Course, function: Callable[..., object], *arguments: Any) -> None:
    """Call what comes after the task; its error counts where the task had none."""
    try:
        function(*arguments)
    except Exception as error:
        course.errors.append(error)


def _one_line(error: Exception, config_name: str, folder: Path | None) -> str | None:
    """What the terminal reports of an error, None for a bug of ours."""
    if isinstance(error, HydraException):
        return explain(error, _valid_keys(config_name))
    if isinstance(error, VestimError | OmegaConfBaseException):
        return str(error)
    if re.match("Config group override must be a string or a list", str(error)):  # Hydra's, of no class of its own
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


def _guarded(
    task: Callable[[DictConfig], float | None], course: _Course, announcement: str = ""
) -> Callable[[DictConfig], float | None]:
    """The task, after the configuration was checked.

    A mistake in a single run is handed over in ``course``, since Hydra would add a line of its own; in a multirun it
    is logged and raised, so that Hydra counts the job as failed and starts the next. The ``announcement`` goes to the
    log file of every job, and to the terminal once.
    """

    def guarded(config: DictConfig) -> float | None:
        is_first_job = course.folder is None
        course.is_multirun, folder = is_multirun(), Path(HydraConfig.get().runtime.output_dir)
        course.folder = Path(HydraConfig.get().sweep.dir).absolute() if course.is_multirun else folder
        leave_terminal_to_first()
        first = None if is_first_process() else OtherProcesses(folder)
        if announcement and is_first_job:
            _log.info("%s", announcement)
        elif announcement:
            _tell_log_file(announcement, level=logging.INFO)
        try:
            with _machine_faults(folder):
                _refuse_missing(config)
                _refuse_other_folder(config)
                check(config)
                return task(config)
        except (VestimError, OmegaConfBaseException) as error:
            if course.is_multirun:
                _log.error("error: %s", error)
                raise
            _tell_log_file(f"error: {error}")
            _leave_if_reported(first)
            course.errors.append(error)
            return None
        except Exception:
            _tell_log_file("an error of the program, please report it:", sys.exc_info())
            _leave_if_reported(first)
            raise

    guarded.__module__ = task.__module__
    return guarded


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


def _leave_if_reported(first: OtherProcesses | None) -> None:
    """End another process than the first without a line of its own where the first has reported an error."""
    if first is not None and first.error():
        sys.exit(1)


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
