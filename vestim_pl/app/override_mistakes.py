"""One line, with a suggestion, for a mistake that Hydra found in the command line."""

import re
import shlex
from collections.abc import Collection, Sequence
from itertools import pairwise

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    GrammarParseError,
    InterpolationKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)

from vestim_pl.app.conf_tree import choices, suggest_key
from vestim_pl.settings.names import nearest
from vestim_pl.settings.override import hydra_value, overridden_key

__all__ = ["explain", "explain_reference", "quoted_argument"]


def explain(error: HydraException, valid_keys: Collection[str], arguments: Sequence[str] = ()) -> str:
    """Explain in one line a mistake that Hydra found in the command line.

    Args:
        error: What Hydra raised.
        valid_keys: Every key of the configuration without overrides.
        arguments: The command line, for a value that the shell has cut at a space.

    Example::

        >>> explain(OverrideParseException("safer", "no viable alternative"), [])
        'safer: is not key=value; did you mean +preset=safer?'

    """
    text = str(error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    if isinstance(error, OverrideParseException):
        return _not_an_override(error.override, arguments)
    if isinstance(error, MissingConfigException):
        return _no_such_choice(error) or first
    if isinstance(error, ConfigCompositionException):
        return _not_composed(error, first, valid_keys)
    return first


def explain_reference(error: OmegaConfBaseException) -> str:
    """Explain in one line a reference such as ``${x}`` to a setting that does not exist."""
    first, key = str(error).splitlines()[0], getattr(error, "full_key", None)
    if not key or not isinstance(error, InterpolationKeyError | InterpolationResolutionError | GrammarParseError):
        return first
    return f"{key}: {first[0].lower()}{first[1:]}; if the value is a text, write a backslash before ${{"


def _not_an_override(override: str, arguments: Sequence[str] = ()) -> str:
    if override in choices("preset"):
        return f"{override}: is not key=value; did you mean +preset={override}?"
    name, _, value = override.partition("=")
    if value and overridden_key(f"{name}=x"):
        return f"{override}: Hydra cannot read this value; write {quoted_argument(name, value)}"
    before = {second: first for first, second in pairwise(arguments)}.get(override, "")
    name, _, value = before.partition("=")
    if "=" not in override and value and overridden_key(f"{name}=x"):
        cut = quoted_argument(name, f"{value} {override}")
        return f"{override}: is not key=value; if it belongs to the argument before it, write {cut}"
    return f"{override}: is not key=value; write for example trainer.max_epochs=2"


def quoted_argument(name: str, value: str) -> str:
    """Write the argument that gives a setting a text, or a list of texts, as it must be typed in a shell.

    Args:
        name: The setting, perhaps with ``+`` before it.
        value: The value as the user typed it, which Hydra may not be able to read. Brackets around the whole make a
            list, whose entries Hydra reads where it can.

    Example::

        >>> print(quoted_argument("data.columns.time", "Test_Time(s)"), quoted_argument("+a", "[1,b (c)]"))
        'data.columns.time="Test_Time(s)"' '+a=[1,"b (c)"]'

    """
    plain = value.strip()
    entries = (
        [_entry(each) for each in plain[1:-1].split(",")] if plain.startswith("[") and plain.endswith("]") else None
    )
    return shlex.quote(f"{name}={hydra_value(value if entries is None else entries)}")


def _entry(text: str) -> object:
    """Read an entry of a list as Hydra does, or else as text."""
    try:
        value = OverridesParser.create().parse_override(f"a={text.strip()}").value()
    except HydraException:
        return text.strip().strip("'\"")
    return text.strip() if isinstance(value, list | dict) else value


def _no_such_choice(error: MissingConfigException) -> str | None:
    group, _, option = (error.missing_cfg_file or "").removesuffix(".yaml").rpartition("/")
    options = error.options or choices(group)
    return f"{group}={option}: no such choice; {nearest(option, options)}" if options else None


def _not_composed(error: ConfigCompositionException, first: str, valid_keys: Collection[str]) -> str:
    cause = error.__cause__
    key = getattr(cause, "full_key", None)
    if key and "not in struct" in str(cause):
        if key in valid_keys:  # it is valid in the configuration without overrides
            owner = str(key).rpartition(".")[0]
            return f"{key}: no such key, because another override removes or replaces {owner}; leave one of them out"
        return f"{key}: no such key; {suggest_key(str(key), valid_keys)}"
    if cause is not None:
        return f"{first} {str(cause).splitlines()[0]}"
    if found := re.match(r"Could not override '([^']+)'\. No match", first):
        return f"{found[1]}: nothing is chosen yet that this could replace; write +{found[1]}=... to add it"
    if found := re.match(r"Ambiguous value for argument '([^']+)'", first):
        return _several_values(*found[1].split("=", 1))
    return first


def _several_values(name: str, values: str) -> str:
    message = f"{name}={values}: several values; give one, add -m to run each"
    group = name.lstrip("+")
    as_list, as_text = quoted_argument(name, f"[{values}]"), quoted_argument(name, values)
    if choices(group):
        return f"{message}, or write {as_list}" if group == "callbacks" else message.replace(", add", ", or add")
    return f"{message}, or write {as_list} for a list, {as_text} for a text"
