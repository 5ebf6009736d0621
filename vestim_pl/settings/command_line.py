"""Command lines to show to a person, who pastes them into the shell."""

import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["command_line"]


def command_line(module: str, *arguments: str) -> str:
    """Command that runs a module of this environment, quoted for the shell.

    ``python`` where that is this interpreter, else its path: a virtual environment need not be activated.

    Args:
        module: Module to run.
        arguments: Arguments, as the program is to see them.

    Example::

        >>> command_line("vestim_pl.train", "network.hidden_sizes=[64, 32]").split(maxsplit=1)[1]
        "-m vestim_pl.train 'network.hidden_sizes=[64, 32]'"

    """
    found = shutil.which("python")
    here = found is not None and Path(found).absolute() == Path(sys.executable).absolute()
    return shlex.join(["python" if here else sys.executable, "-m", module, *arguments])
