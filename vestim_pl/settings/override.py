"""A setting and its value, as an override of Hydra's command line."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_letters, digits

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

__all__ = ["Override", "command_text", "hydra_value", "keyword_argument", "overridden_key"]

_BARE = frozenset(ascii_letters + digits + "_./@%+-")  # characters that mean nothing to Hydra and to the shell


@dataclass(frozen=True)
class Override:
    r"""A setting of the configuration with the value it should have.

    Attributes:
        key: Dotted name, such as ``optimizer.lr``.
        value: Number, truth value, text, None, or a list or mapping of them.
        added: Whether the configuration lacks the key; Hydra then wants a ``+`` in front.

    Example::

        >>> features = Override("data.features", ["SOC", "T cell"])
        >>> features.argument, str(features)
        ('data.features=[SOC,"T cell"]', '\'data.features=[SOC,"T cell"]\'')

    """

    key: str
    value: object
    added: bool = False

    @property
    def argument(self) -> str:
        """The argument that Hydra receives, without quotes for a shell."""
        return f"{'+' if self.added else ''}{self.key}={hydra_value(self.value)}"

    def __str__(self) -> str:
        """Quote the argument, so that it can be pasted into a shell."""
        return shlex.quote(self.argument)


def command_text(overrides: Sequence[Override]) -> str:
    """Write overrides one after the other, to be pasted into a shell.

    Example::

        >>> command_text([Override("optimizer.lr", 0.001), Override("data.rc_pairs", [5, 50], added=True)])
        "optimizer.lr=0.001 '+data.rc_pairs=[5,50]'"

    """
    return " ".join(map(str, overrides))


def hydra_value(value: object) -> str:
    """Write a value in the grammar of Hydra's overrides.

    Example::

        >>> hydra_value((64, 32)), hydra_value(1e-05), hydra_value(None), hydra_value("T cell"), hydra_value("32")
        ('[64,32]', '1e-05', 'null', '"T cell"', '"32"')

    """
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return f"{value:.12g}" if isinstance(value, float) else str(value)  # 0.1 * 0.1 is 0.01
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{hydra_value(item)}' for key, item in value.items())}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(hydra_value, value))}]"
    text = str(value)
    if text and _BARE.issuperset(text) and not _is_other_type(text):
        return text
    return QuotedString(text.replace("${", "\\${"), Quote.double).with_quotes()


def overridden_key(argument: str) -> str:
    """Read which setting or group an argument of the command line sets; empty for an option or a mistake.

    Example::

        >>> overridden_key("++optimizer.lr=1e-3"), overridden_key("~callbacks.recovery"), overridden_key("--help")
        ('optimizer.lr', 'callbacks.recovery', '')

    """
    try:
        return OverridesParser.create().parse_override(argument).key_or_group
    except HydraException:
        return ""


def keyword_argument(argument: str) -> str | None:
    """Write an override of a group as the keyword argument that says the same in Python; None for anything else.

    Example::

        >>> keyword_argument("data.resample=1.0"), keyword_argument('data.columns.current="I [A]"')
        ('resample=1.0', "columns={'current': 'I [A]'}")

    """
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return None
    _, *names = override.key_or_group.split(".")
    if not 1 <= len(names) <= 2:
        return None
    value = repr(override.value())
    return f"{names[0]}={value}" if len(names) == 1 else f"{names[0]}={{{names[1]!r}: {value}}}"


def _is_other_type(text: str) -> bool:
    """Whether Hydra reads a bare text as a number, a truth value or null."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false", "null")
    return True
