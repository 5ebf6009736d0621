"""Commands in a fork of the test process: a real process and exit status, without the seconds that imports take."""

import importlib
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vestim_pl.app.command import run_command


@dataclass(frozen=True)
class Done:
    """How a command ended: exit status (negative for a signal that killed it), and what it printed."""

    status: int
    out: str
    err: str


def run_module(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module arguments`` in a fork, in a folder, with tables 120 columns wide.

    Only the seconds before torch is imported differ from a fresh interpreter; tests of signals and refused mistakes in
    that time start processes of their own.
    """
    done = run_forked(folder, command_of(module), list(arguments), lambda: os.environ.update(COLUMNS="120"))
    return subprocess.CompletedProcess(["python", "-m", module, *arguments], done.status, done.out, done.err)


def run_forked(folder: Path, command: Callable[[], Any], arguments: list[str], before: Callable[[], Any]) -> Done:
    """Run a command in a fork, with its own arguments and output, in a folder.

    Args:
        folder: Working folder.
        command: What the module runs as ``__main__``.
        arguments: Command line without the program.
        before: Called in the fork first.

    """
    with tempfile.TemporaryDirectory() as outside:  # the folder holds only what the command writes
        files = [Path(outside, name) for name in ("out", "err")]
        child = os.fork()
        if child == 0:
            _run(folder, command, arguments, before, files)
        _, status = os.waitpid(child, 0)
        return Done(os.waitstatus_to_exitcode(status), *(path.read_text() for path in files))


def _run(
    folder: Path, command: Callable[[], Any], arguments: list[str], before: Callable[[], Any], files: list[Path]
) -> None:
    def redirect() -> None:
        os.chdir(folder)
        for descriptor, path in zip((1, 2), files, strict=True):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), descriptor)

    run_in_child(redirect, command, arguments, before)


def run_in_child(
    redirect: Callable[[], Any], command: Callable[[], Any], arguments: list[str], before: Callable[[], Any]
) -> None:
    """Run a command in this forked process and exit; ``redirect`` sets its output and folder."""
    code = 1
    try:
        redirect()
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        sys.argv = ["command", *arguments]
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        before()
        command()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def command_of(module: str) -> Callable[[], Any]:
    """Return what ``python -m module`` runs."""
    found = importlib.import_module(module)
    name = module.rpartition(".")[2]
    if name in ("vestim", "replay"):
        return lambda: sys.exit(found.main())
    if name == "diagnose":
        return lambda: sys.exit(max(run_command(f"{module}:main", name), default=0))
    after = "vestim_pl.reports.sweep_report:report_sweep" if name == "train" else None
    return lambda: run_command(f"{module}:main", name, after_multirun=after)
