"""Units of columns, as files write them."""

import re
from collections.abc import Mapping
from enum import StrEnum

__all__ = ["Unit", "parse_unit", "split_unit", "unit_of"]


class Unit(StrEnum):
    """Units that a column can have; the value is how settings name the unit."""

    SECOND = "s"
    MILLISECOND = "ms"
    MICROSECOND = "us"
    MINUTE = "min"
    HOUR = "h"
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


_SPELLINGS = {
    Unit.SECOND: "s sec secs second seconds [s]",
    Unit.MILLISECOND: "ms msec millisecond milliseconds",
    Unit.MICROSECOND: "us usec microsecond microseconds",
    Unit.MINUTE: "min mins minute minutes",
    Unit.HOUR: "h hr hrs hour hours",
    Unit.AMPERE: "a amp amps ampere amperes",
    Unit.MILLIAMPERE: "ma mamp mamps milliamp milliamps milliampere milliamperes",
    Unit.MICROAMPERE: "ua microampere microamperes",
    Unit.VOLT: "v volt volts",
    Unit.MILLIVOLT: "mv mvolt mvolts millivolt millivolts",
    Unit.CELSIUS: "c degc celsius deg_c degreec degreescelsius degcelsius",
    Unit.KELVIN: "k degk kelvin",
    Unit.FAHRENHEIT: "f degf fahrenheit deg_f degfahrenheit",
    Unit.ONE: "1 - fraction unity pu p.u.",
    Unit.PERCENT: "% percent pct perc",
    Unit.AMPERE_HOUR: "ah a.h a*h amp-hr amphr ampere-hour ampere_hour amperehours amp_hour",
    Unit.MILLIAMPERE_HOUR: "mah ma.h ma*h mamp-hr mamphr milliampere-hour milliampere_hour",
}
_UNITS = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings.split()}
