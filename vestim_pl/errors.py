"""Errors that a person reads: one line with the setting or file, what was found, and the way out."""

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
    """Base of every error that is the user's to mend.

    The commands print its message as one line and exit non-zero; a traceback is kept for our own bugs.

    Example::

        >>> raise VestimError("sampling.lookback: 0 is not positive; choose at least 1")
        Traceback (most recent call last):
        ...
        vestim_pl.errors.VestimError: sampling.lookback: 0 is not positive; choose at least 1

    """


class ConfigurationError(VestimError, ValueError):
    """A setting is unknown, of the wrong type, or does not go with another one."""


class DataError(VestimError, ValueError):
    """A recording cannot be used as it is: the message names file, column, row and what to do."""


class FileError(VestimError, OSError):
    """A file cannot be written, through no fault of the program: the message says which, why, and what to do."""


class DivergenceError(VestimError, RuntimeError):
    """Training diverged and no recovery was left: the message says when, after which signs, and what to change."""


class ProcessError(VestimError, RuntimeError):
    """Another process of a training failed: the message is what that process reported."""


def printable(text: str) -> str:
    r"""Text out of a file that nobody vouches for, in one line and without control characters.

    Example::

        >>> printable("weight\n\x1b[2J is nan")
        'weight  [2J is nan'

    """
    return "".join(character if character.isprintable() else " " for character in text)


def name_error(error: BaseException) -> str:
    """An error of somebody else's code in one line.

    Example::

        >>> name_error(KeyError("state"))
        "KeyError: 'state'"

    """
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
