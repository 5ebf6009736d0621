"""Checks of settings whose messages name the setting, what was found, and what is allowed."""

from collections.abc import Sequence
from typing import Any

from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.names import nearest_name

__all__ = ["check_choice", "check_integers"]


def check_integers(settings: Any, group: str, **minimums: int) -> None:
    """Refuse attributes that are no integers or below their minimum; ``group`` is named in the message.

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
    """Refuse a value that is not among the choices; ``setting`` is its name in the message.

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
