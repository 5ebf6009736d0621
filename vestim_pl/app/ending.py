"""End a training, whatever ends it, with an event, a report, and a line that says what is kept."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lightning.pytorch as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vestim_pl.app.interruption import finish_first
from vestim_pl.app.machine_faults import machine_fault
from vestim_pl.app.next_command import resume_command
from vestim_pl.app.resume import newest_checkpoint
from vestim_pl.errors import FileError, VestimError
from vestim_pl.lightning_support.event_lines import append_event
from vestim_pl.lightning_support.events import Event, publish
from vestim_pl.lightning_support.stop_request import Interrupted, StopRequest, is_first_process, signal_name
from vestim_pl.reports.run_report import write_report
from vestim_pl.settings.command_line import command_line

__all__ = ["record_early_interrupt", "record_ending", "write_run_report"]

_log = logging.getLogger("vestim_pl")


@contextmanager
def record_early_interrupt(config: DictConfig) -> Iterator[None]:
    """Write event and report if a signal stops a run within the block, before there is a trainer."""
    try:
        yield
    except Interrupted as stop:
        with suppress(OSError):
            _append_interrupt(config, stop)
            write_run_report(config)
        raise


@contextmanager
def record_ending(config: DictConfig, trainer: pl.Trainer) -> Iterator[None]:
    """Write event and report if a signal or an error ends the training within the block.

    Raises:
        FileError: For an error of the machine, such as a full disk, with the last complete checkpoint.

    """
    run_dir = Path(config.run_dir)
    try:
        yield
    except Interrupted as stop:
        with suppress(OSError):
            _publish_interrupt(trainer, stop, run_dir / "checkpoints" / "last.ckpt")
            write_run_report(config)
        raise
    except Exception as error:
        with suppress(OSError):  # the error may be that nothing can be written
            publish(trainer, "stop", str(error), level=logging.DEBUG, error=type(error).__name__)
            write_run_report(config)
        if fault := machine_fault(error, run_dir):
            raise FileError(f"{fault}; {_what_is_kept(run_dir)}") from error
        raise


def write_run_report(config: DictConfig) -> None:
    """Write the report of a training or an evaluation.

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
    except Exception:  # a failing report must not take the results with it
        _log.exception("the report could not be written; %s tries again", again)


def _append_interrupt(config: DictConfig, stop: Interrupted) -> None:
    log = config.callbacks.get("event_log")
    if log is not None and is_first_process():
        event = Event("interrupt", stop.reason, epoch=0, step=0, values={"signal": signal_name(stop.signal)})
        Path(log.path).parent.mkdir(parents=True, exist_ok=True)
        append_event(Path(log.path), event.as_dict())


def _publish_interrupt(trainer: pl.Trainer, stop: Interrupted, last: Path) -> None:
    """Publish the event, unless the callback that stopped the training has done so, and suggest how to resume."""
    request = StopRequest.current()
    if request is not None:
        request.children = list(getattr(trainer.strategy.launcher, "procs", []))
    if stop.reported and request is not None:
        saved = last.is_file() and HydraConfig.initialized()
        request.advice = f"to resume: {resume_command(last)}" if saved else "no checkpoint was written"
    elif not stop.reported:
        publish(trainer, "interrupt", stop.reason, level=logging.DEBUG, signal=signal_name(stop.signal))


def _what_is_kept(run_dir: Path) -> str:
    """Name the newest complete checkpoint, and the command that resumes from it."""
    try:
        found = newest_checkpoint(run_dir / "checkpoints")
    except VestimError:
        found = None
    if found is None:
        return "there is no complete checkpoint to resume from"
    path, checkpoint = found
    step = checkpoint["global_step"]
    return f"checkpoints/{path.name} of step {step:,} is complete; then resume with: {resume_command(path)}"
