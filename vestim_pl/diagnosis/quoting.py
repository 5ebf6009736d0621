"""Names in an override, so that Hydra's grammar and the shell leave them as they are."""

import re
import shlex

__all__ = ["hydra_text", "on_command_line"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = ("true", "false", "null", "nan", "inf")


def hydra_text(text: str) -> str:
    """A text as Hydra reads it back: bare where it is a plain word, else in quotes.

    Example::

        >>> hydra_text("Current"), hydra_text("T, cell [degC]"), hydra_text("null")
        ('Current', '"T, cell [degC]"', '"null"')

    """
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + found[2].replace('"', '\\"'), text)
    return f'"{escaped.replace("${", chr(92) + "${")}"'


def on_command_line(override: str) -> str:
    r"""An override as it is typed: in quotes where the shell would change it.

    Example::

        >>> on_command_line("data.features=[SOC,Current]")
        'data.features=[SOC,Current]'
        >>> on_command_line('data.features=["T cell"]')
        '\'data.features=["T cell"]\''

    """
    return override if re.fullmatch(r"[\w.,:/@%+=~\[\]-]*", override) else shlex.quote(override)
