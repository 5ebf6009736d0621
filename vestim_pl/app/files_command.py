"""Run a command that takes files and ``data.*`` overrides: ``python -m vestim_pl.prepare IN OUT data.resample=1``."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name

from vestim_pl.app.data_settings import compose_data
from vestim_pl.app.interruption import ends_in_one_line
from vestim_pl.app.machine_faults import close_output, machine_fault
from vestim_pl.errors import ConfigurationError, VestimError

__all__ = ["run_files_command"]


def run_files_command(
    task: Callable[[argparse.Namespace], int] | str,
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None = None,
) -> int:
    """Check the command line, run the task, and end in one line for a mistake, a fault of the machine or a signal.

    Args:
        task: Takes the arguments and returns the exit status. As ``module:function`` it is imported only for a command
            line without mistakes, because torch takes seconds.
        parser: Has an argument ``input``, a path; overrides are added to it.
        arguments: Command line without the program; that of the process by default.

    Returns:
        Exit status: that of the task, or 1 for a mistake.

    """
    parser.add_argument("overrides", nargs="*", help="settings of the data, such as data.resample=1.0")
    options = parser.parse_intermixed_args(arguments)
    with ends_in_one_line():
        try:
            if not Path(options.input).exists():
                raise ConfigurationError(f"{options.input}: no such folder or file; give one with recordings")
            compose_data(Path(options.input), options.overrides)
            status: int = (resolve_name(task) if isinstance(task, str) else task)(options)
            close_output()
        except Exception as error:
            line = str(error) if isinstance(error, VestimError) else machine_fault(error, Path.cwd())
            if line is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            print(f"error: {line}", file=sys.stderr)
            return 1
    return status
