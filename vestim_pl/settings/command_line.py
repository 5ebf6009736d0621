"""Command lines for users to paste into the shell."""

import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["command_line"]


def command_line(module: str, *arguments: str) -> str:
    """Write the command that runs a module of this environment with arguments, quoted for the shell.

    It starts with ``python`` where that is this interpreter, else with its path, so that it works without activating
    the virtual environment.

    Example::

        >>> command_line("vestim_pl.train", "network.hidden_sizes=[64, 32]").split(maxsplit=1)[1]
        "-m vestim_pl.train 'network.hidden_sizes=[64, 32]'"

    """
    found = shutil.which("python")
    here = found is not None and Path(found).absolute() == Path(sys.executable).absolute()
    return shlex.join(["python" if here else sys.executable, "-m", module, *arguments])
