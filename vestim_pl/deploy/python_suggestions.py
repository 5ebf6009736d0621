"""Turn the suggestions of a message from the command line's overrides into arguments of `vestim_pl.load`."""

import re
import shlex

from vestim_pl.data.formats.raw_table import LEAVE_OUT
from vestim_pl.settings.override import keyword_argument

__all__ = ["for_python"]

_OVERRIDE = re.compile(r"""'data\.[\w.]+=[^']*'(?:"'"'[^']*')*|\bdata\.[\w.]+=[^\s,;)]+""")  # as quoted for a shell
_KEY = re.compile(r"\bdata\.(columns|units|soc|csv)\.(\w+)\b(?!=)")


def for_python(message: str) -> str:
    """Rewrite a message about a table so that its suggestions work in Python.

    Args:
        message: One line, written for the commands.

    Example::

        >>> for_python("the table: rows are 2 s apart; set data.resample=1")
        'the table: rows are 2 s apart; set resample=1; vestim_pl.load takes such settings'
        >>> for_python("the table: is NaN; fix the row")
        'the table: is NaN; fix the row'

    """
    text = message.removesuffix(f", {LEAVE_OUT}")
    changed = _KEY.sub(r"\1={'\2': ...}", _OVERRIDE.sub(_keyword, text))
    return text if changed == text else f"{changed}; vestim_pl.load takes such settings"


def _keyword(found: re.Match[str]) -> str:
    return keyword_argument(shlex.split(found[0])[0]) or found[0]
