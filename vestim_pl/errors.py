"""Errors that a user sees as one line: the setting or file, what was found, and a fix."""

__all__ = [
    "ConfigurationError",
    "DataError",
    "DivergenceError",
    "FileError",
    "ProcessError",
    "VestimError",
    "name_error",
    "printable",
]


class VestimError(Exception):
    """Base of every error that the user can fix.

    The commands print its message as one line and exit with a non-zero status. Only our own bugs have a traceback.
    """


class ConfigurationError(VestimError, ValueError):
    """A setting is unknown, of the wrong type, or does not go with another one."""


class DataError(VestimError, ValueError):
    """A recording cannot be used as it is: the message names file, column, row and a fix."""


class FileError(VestimError, OSError):
    """A file cannot be written, and the program is not the cause: the message says which file, why, and a fix."""


class DivergenceError(VestimError, RuntimeError):
    """Training diverged and no recovery was left: the message says when, after which signs, and what to change."""


class ProcessError(VestimError, RuntimeError):
    """Another process of a training failed: the message is what that process reported."""


def printable(text: str) -> str:
    r"""Make text from a file printable: one line, without control characters.

    Example::

        >>> printable("weight\n\x1b[2J is nan")
        'weight  [2J is nan'

    """
    return "".join(character if character.isprintable() else " " for character in text)


def name_error(error: BaseException) -> str:
    """Describe any error in one line, our own by their message alone.

    Example::

        >>> name_error(KeyError("state"))
        "KeyError: 'state'"

    """
    kind = "" if isinstance(error, VestimError) else f"{type(error).__name__}: "
    return kind + str(error).partition("\n")[0]
