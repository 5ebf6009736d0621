"""Temperature of files that have no column of it: a constant, or a number in their name."""

import re

import numpy as np

from vestim_pl.data.preparation.table import Note, StandardTable
from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.settings.override import Override

__all__ = ["check_temperature", "named_temperature", "with_temperature"]

_NUMBER = r"(?<![A-Za-z0-9.])(?P<temperature>(?:minus|neg|n|m|-)?_?\d+(?:\.\d+)?)"
_DEGREES = _NUMBER + r"[ _]?(?:(?:deg|°)[ _]?|(?<=\d\d))C(?![A-Za-z])"  # 1C is a rate, 25C a temperature
_MINUS = re.compile(r"^(?:minus|neg|n|m|-)_?", re.IGNORECASE)


def check_temperature(source: float | str | None) -> None:
    """Refuse a setting that is neither a number, nor ``name``, nor a pattern with a group ``temperature``.

    Raises:
        ConfigurationError: With an example.

    """
    if not isinstance(source, str) or source == "name":
        return
    try:
        groups = re.compile(source).groupindex
    except re.error as error:
        raise ConfigurationError(
            f"data.temperature: {source!r} is no regular expression ({error}); use a number, data.temperature=name, or "
            f"for example {Override('data.temperature', '(?P<temperature>n?[0-9]+)degC')}"
        ) from error
    if "temperature" not in groups:
        raise ConfigurationError(
            f"data.temperature: {source!r} has no group named temperature; use a number, data.temperature=name, or "
            f"for example {Override('data.temperature', '(?P<temperature>n?[0-9]+)degC')}"
        )


def named_temperature(name: str, pattern: str = "name") -> float | None:
    """Return the temperature in degC that a file's path names; None where it names none.

    Args:
        name: Path of the file below the folder of the data.
        pattern: Regular expression with a group ``temperature``; ``name`` for a number before ``degC``, or of two
        digits before ``C``. A
            leading ``n``, ``m``, ``minus`` or ``-`` is a minus. The last match counts: the file's name before its
            folder.

    Example::

        >>> [named_temperature(name) for name in ("train/us06_n10degC.csv", "25degC/us06.csv", "LA92.csv")]
        [-10.0, 25.0, None]

    """
    found = [match["temperature"] for match in re.finditer(_DEGREES if pattern == "name" else pattern, name)]
    for text in reversed(found):
        number = _MINUS.sub("-", text)
        try:
            return float(number)
        except (TypeError, ValueError):
            continue
    return None


def with_temperature(table: StandardTable, source: float | str | None, name: str) -> tuple[StandardTable, list[Note]]:
    """Add the temperature where the file has none.

    Args:
        table: The table.
        source: A number in degC, ``name`` or a regular expression, see `named_temperature`; None adds nothing.
        name: Path of the file below the folder of the data.

    Raises:
        DataError: If the path names no temperature.

    """
    if source is None or "temperature" in table:
        return table, []
    if not isinstance(source, str):
        note = Note(f"temperature: no column, so {source:g} degC is taken (data.temperature)")
        return table.with_columns(temperature=np.full(len(table), float(source))), [note]
    value = named_temperature(name, source)
    if value is None:
        raise DataError(
            f"{name}: has no column of temperature, and its path names none; set a constant with "
            "data.temperature=25, or "
            f"a pattern that fits, for example {Override('data.temperature', '(?P<temperature>n?[0-9]+)degC')}"
        )
    return table.with_columns(temperature=np.full(len(table), value)), [
        Note("temperature: no column, so that in the file's name is taken")
    ]
