"""A setting and its value, written as the command line takes it."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Override", "command_text"]

_PLAIN = re.compile(r"[A-Za-z0-9_./@%+-]+")


@dataclass(frozen=True)
class Override:
    r"""A setting of the configuration with the value it should have.

    Attributes:
        key: Dotted name, such as ``optimizer.lr``.
        value: Number, truth value, text, None, or a list or mapping of them.
        added: Whether the configuration lacks the key; Hydra then wants a ``+`` in front.

    Example::

        >>> str(Override("optimizer.lr", 1e-5)), str(Override("data.features", ["SOC", "T cell"]))
        ('optimizer.lr=1e-05', '\'data.features=[SOC,"T cell"]\'')

    """

    key: str
    value: object
    added: bool = False

    def __str__(self) -> str:
        """Text that can be pasted into a shell: quoted for Hydra's grammar first, for the shell around it."""
        return shlex.quote(f"{'+' if self.added else ''}{self.key}={_hydra(self.value)}")


def command_text(overrides: Sequence[Override]) -> str:
    """Write overrides one after the other, to be pasted into a shell.

    Example::

        >>> command_text([Override("optimizer.lr", 0.001), Override("data.rc_pairs", [5, 50], added=True)])
        "optimizer.lr=0.001 '+data.rc_pairs=[5,50]'"

    """
    return " ".join(map(str, overrides))


def _hydra(value: object) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return f"{value:.12g}" if isinstance(value, float) else str(value)  # 0.1 * 0.1 is 0.01
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_hydra(item)}' for key, item in value.items())}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(_hydra, value))}]"
    return _text(str(value))


def _text(text: str) -> str:
    """A text bare where Hydra reads it as that text, else in quotes."""
    if _PLAIN.fullmatch(text) and not _is_number(text) and text.lower() not in ("true", "false", "null"):
        return text
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + found[2].replace('"', '\\"'), text)
    return f'"{escaped.replace("${", chr(92) + "${")}"'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
