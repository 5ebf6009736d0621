"""One line, with a suggestion, for a mistake that Hydra found in the command line."""

import re
from collections.abc import Collection

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException

from vestim_pl.app.conf_tree import choices, suggest_key
from vestim_pl.settings.names import nearest

__all__ = ["explain"]


def explain(error: HydraException, valid_keys: Collection[str]) -> str:
    """Explain in one line a mistake that Hydra found in the command line.

    Args:
        error: What Hydra raised.
        valid_keys: Every key of the configuration without overrides.

    Example::

        >>> explain(OverrideParseException("safer", "no viable alternative"), [])
        'safer: is not key=value; did you mean +preset=safer?'

    """
    text = str(error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    if isinstance(error, OverrideParseException):
        return _not_an_override(error.override)
    if isinstance(error, MissingConfigException):
        return _no_such_choice(error) or first
    if isinstance(error, ConfigCompositionException):
        return _not_composed(error, first, valid_keys)
    return first


def _not_an_override(override: str) -> str:
    if override in choices("preset"):
        return f"{override}: is not key=value; did you mean +preset={override}?"
    return (
        f"{override}: is not key=value; write for example trainer.max_epochs=2, and quote a value with spaces or"
        " brackets: 'network.hidden_sizes=[64, 32]'"
    )


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
        name, _, values = found[1].partition("=")
        return f"{found[1]}: several values; give one, add -m to run each, or write \"{name}='{values}'\" for a text"
    return first
