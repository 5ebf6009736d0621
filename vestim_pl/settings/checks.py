"""Checks of values whose messages name the setting, the value found, and the values allowed."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from vestim_pl.errors import ConfigurationError

__all__ = ["check_choice", "check_integers", "nearest_name"]


def check_integers(settings: Any, group: str, **minimums: int) -> None:
    """Refuse attributes that are no integers or below their minimum.

    Args:
        settings: Object with the attributes.
        group: Group of the settings, for the message, such as ``sampling``.
        minimums: Smallest allowed value by attribute.

    Raises:
        ConfigurationError: With the first setting that is out of range.

    Example::

        >>> from types import SimpleNamespace
        >>> check_integers(SimpleNamespace(lookback=0), "sampling", lookback=1)
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: sampling.lookback: 0 is too small; choose an
        integer of at least 1

    """
    for name, minimum in minimums.items():
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigurationError(f"{group}.{name}: {value!r} is not an integer; choose one of at least {minimum}")
        if value < minimum:
            raise ConfigurationError(f"{group}.{name}: {value} is too small; choose an integer of at least {minimum}")


def check_choice(setting: str, value: object, choices: Sequence[str]) -> None:
    """Refuse a value that is not one of the choices.

    Args:
        setting: Name of the setting, for the message.
        value: What was given.
        choices: Allowed values.

    Raises:
        ConfigurationError: With setting, value, choices and the nearest choice.

    Example::

        >>> check_choice("sampling.evaluation", "stream", ["windows", "streams"])
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: sampling.evaluation: 'stream' is unknown; choose 'windows' or
        'streams' (nearest: 'streams')

    """
    if value not in choices:
        near = nearest_name(str(value), choices)
        hint = f" (nearest: {near!r})" if near else ""
        *others, last = [repr(choice) for choice in choices]
        listed = f"{', '.join(others)} or {last}" if others else last
        raise ConfigurationError(f"{setting}: {value!r} is unknown; choose {listed}{hint}")


def nearest_name(name: str, valid: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Find the valid name most similar to a misspelt one, ignoring case; None if none is similar.

    Args:
        name: The misspelt name.
        valid: Valid names.
        cutoff: Least similarity, 0..1, see `difflib.get_close_matches`.

    Example::

        >>> nearest_name("Lokback", ["lookback", "stride"]), nearest_name("seed", ["lookback", "stride"])
        ('lookback', None)

    """
    names = {choice.casefold(): choice for choice in valid}
    close = get_close_matches(name.casefold(), list(names), n=1, cutoff=cutoff)
    return names[close[0]] if close else None
