"""Units of columns, as files write them."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache

__all__ = ["KINDS", "Unit", "parse_unit", "split_unit", "unit_of", "units_of_names"]


class Unit(StrEnum):
    """Units that a column can have; the value is how settings name the unit."""

    SECOND = "s"
    MILLISECOND = "ms"
    MICROSECOND = "us"
    NANOSECOND = "ns"
    MINUTE = "min"
    HOUR = "h"
    DAY = "d"
    AMPERE = "A"
    MILLIAMPERE = "mA"
    MICROAMPERE = "uA"
    VOLT = "V"
    MILLIVOLT = "mV"
    CELSIUS = "degC"
    KELVIN = "K"
    FAHRENHEIT = "degF"
    ONE = "1"
    PERCENT = "%"
    AMPERE_HOUR = "Ah"
    MILLIAMPERE_HOUR = "mAh"


_CHARGE = frozenset({Unit.AMPERE_HOUR, Unit.MILLIAMPERE_HOUR})
KINDS: Mapping[str, frozenset[Unit]] = {
    "time": frozenset(
        {
            Unit.SECOND,
            Unit.MILLISECOND,
            Unit.MICROSECOND,
            Unit.NANOSECOND,
            Unit.MINUTE,
            Unit.HOUR,
            Unit.DAY,
        }
    ),
    "current": frozenset({Unit.AMPERE, Unit.MILLIAMPERE, Unit.MICROAMPERE}),
    "voltage": frozenset({Unit.VOLT, Unit.MILLIVOLT}),
    "temperature": frozenset({Unit.CELSIUS, Unit.KELVIN, Unit.FAHRENHEIT}),
    "soc": frozenset({Unit.ONE, Unit.PERCENT}),
    "state": frozenset(),
    "ah": _CHARGE,
    "charge_ah": _CHARGE,
    "discharge_ah": _CHARGE,
}
"""Units that fit each quantity."""

_SPELLINGS = {
    Unit.SECOND: "s sec sec. secs second seconds",
    Unit.MILLISECOND: "ms msec millisecond milliseconds",
    Unit.MICROSECOND: "us µs μs usec microsecond microseconds",
    Unit.NANOSECOND: "ns nsec nanosecond nanoseconds",
    Unit.MINUTE: "min min. mins minute minutes",
    Unit.HOUR: "h hr hrs hour hours",
    Unit.DAY: "d day days",
    Unit.AMPERE: "a amp amps ampere amperes",
    Unit.MILLIAMPERE: "ma mamp mamps milliamp milliamps milliampere milliamperes",
    Unit.MICROAMPERE: "ua µa μa microampere microamperes",
    Unit.VOLT: "v volt volts",
    Unit.MILLIVOLT: "mv mvolt mvolts millivolt millivolts",
    Unit.CELSIUS: "c degc deg.c celsius degreec degreescelsius degcelsius",
    Unit.KELVIN: "k degk kelvin",
    Unit.FAHRENHEIT: "f degf deg.f fahrenheit degfahrenheit",
    Unit.ONE: "1 - fraction unity p.u. pu",
    Unit.PERCENT: "% percent pct",
    Unit.AMPERE_HOUR: "ah a.h a*h amp-hr amphr ampere-hour amperehour amperehours",
    Unit.MILLIAMPERE_HOUR: "mah ma.h ma*h mamp-hr mamphr milliampere-hour milliamperehour",
}
_UNITS = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings.split()}
_OTHER = frozenset(
    ("w", "mw", "kw", "wh", "mwh", "kwh", "ohm", "mohm", "kohm", "ka", "kv", "hz", "nm", "rpm", "km/h", "m/s", "cnt")
)
"""Units of no quantity of ours; known, so that a row of units is recognised."""

_SAID_BY_NAME = (Unit.MILLIAMPERE, Unit.MICROAMPERE, Unit.MILLIVOLT)
"""Units that a bare name such as ``mAmps`` says; ``Volts`` is how Maccor calls the quantity, in millivolts too."""

_BRACKETS = re.compile(r"(?P<base>.*?)\s*[\[({<]\s*(?P<unit>[^\[\](){}<>]*?)\s*[\])}>]?(?P<number>[ _]\d+)?\s*")
_SLASH = re.compile(r"(?P<base>.*\S)\s*/\s*(?P<unit>[^/\s]+|\S+/\S+)")
_SUFFIX = re.compile(r"(?P<base>.*[^\W_])[_ .](?P<unit>[^\W_]+|%)")
_CLOCK_FORMAT = re.compile(r".*(:|yy|hh|dd).*", re.IGNORECASE)
_DEGREE = re.compile(r"(?:[^\x00-\x7f]+|\?|deg|degree|degrees)?[ _]*(c|f|celsius|fahrenheit)")


@lru_cache(maxsize=4096)
def parse_unit(text: str) -> Unit | None:
    """Return the unit that a file writes in some way; None if it is none of ours.

    Example::

        >>> [str(parse_unit(text)) for text in ("[V]", "mAmps", "°C", "Sec", "mA.h", "K")]
        ['V', 'mA', 'degC', 's', 'mAh', 'K']
        >>> parse_unit("kW") is None
        True

    """
    text = text.strip().strip("[](){}<>").strip().casefold()
    if text in _UNITS:
        return _UNITS[text]
    if text in ("℃", "¡æ"):  # one character; and its bytes in GBK read as cp1252
        return Unit.CELSIUS
    degrees = _DEGREE.fullmatch(text)  # the degree sign is the one that encodings spoil
    return None if degrees is None else Unit.CELSIUS if degrees[1].startswith("c") else Unit.FAHRENHEIT


def is_unit(text: str) -> bool:
    """Whether a cell of a table reads as a unit, also one of no quantity of ours."""
    bare = text.strip().strip("[](){}").strip().casefold()
    return parse_unit(text) is not None or bare in _OTHER or bool(bare and _CLOCK_FORMAT.fullmatch(bare))


@lru_cache(maxsize=65536)
def split_unit(name: str) -> tuple[str, str]:
    """Split the name of a column into what it names and the unit as written; the unit is empty if none is said.

    Example::

        >>> [split_unit(name) for name in ("Test_Time(s)", "Voltage / V", "current_mA", "I/mA", "SoC [%]")]
        [('Test_Time', 's'), ('Voltage', 'V'), ('current', 'mA'), ('I', 'mA'), ('SoC', '%')]
        >>> split_unit("mAmps"), split_unit("Current_load"), split_unit("Time(h:min:s.ms)")
        (('mAmps', 'mAmps'), ('Current_load', ''), ('Time', ''))

    """
    bracketed = _BRACKETS.fullmatch(name)
    if bracketed is not None and bracketed["base"]:
        base, unit = bracketed["base"] + (bracketed["number"] or ""), bracketed["unit"]  # Arbin: Temperature (C)_1
        if _CLOCK_FORMAT.fullmatch(unit) and parse_unit(unit) is None:
            return base, ""
        if is_unit(unit) or "[" in name:
            return base, unit
    if (slashed := _SLASH.fullmatch(name)) is not None:
        return slashed["base"], slashed["unit"]
    suffixed = _SUFFIX.fullmatch(name)
    if suffixed is not None and not suffixed["unit"].isdigit() and parse_unit(suffixed["unit"]) is not None:
        return suffixed["base"], suffixed["unit"]
    return name, name if parse_unit(name) in _SAID_BY_NAME else ""


def units_of_names(names: Iterable[str]) -> dict[str, str]:
    """Return the unit that the name of each column says; columns without one are left out.

    Example::

        >>> units_of_names(["Time [s]", "Step", "I/mA"])
        {'Time [s]': 's', 'I/mA': 'mA'}

    """
    return {name: unit for name in names if (unit := split_unit(name)[1])}


def unit_of(name: str, units: Mapping[str, str]) -> Unit | None:
    """Return the unit of a column; None if the file does not say it, or says one that is none of ours.

    Args:
        name: Column in the file.
        units: Unit by column as written, from `RawTable`.

    """
    return parse_unit(units[name]) if units.get(name) else None
