"""Judge one recording: whether its values can be what they should be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vestim_pl.data.preparation.meaning.evidence import Evidence
from vestim_pl.data.preparation.settings import PreparationSettings
from vestim_pl.data.preparation.units import UNITS
from vestim_pl.settings.override import Override, command_text

__all__ = ["Judgement", "judge", "soc_that_fits"]

FINE, WRONG = 0.8, 0.2  # share of current steps at which voltage and current change in the same direction
SOC_RANGE = (-0.05, 1.05)
COLDEST, WARM, HOTTEST = -60.0, 60.0, 120.0  # degC
MILLIVOLTS, ONE_CELL, NO_CELL = 1500.0, 5.0, 1.05  # V
CELL_CURRENT, CELL_CAPACITY, HIGHEST_RATE = 1000.0, 2000.0, 100.0  # A, Ah, 1/h
SHORTEST, LONGEST = 1e-3, 600.0  # s
IRREGULAR = 0.01  # of the intervals
EPOCH_MILLISECONDS = 1e11  # s; as seconds since 1970 this would be in the year 5138
_PER_CELL = 4.0  # V, to guess the cells of a pack
_USUAL = (1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600)
"""Intervals in seconds that loggers are set to."""
_NEVER_NEGATIVE = "unless the file has charges too, because its current is never negative"
_ODD, _NEAR = 0.2, 0.005  # s and relative: an interval below the first that is no usual one


@dataclass
class Judgement:
    """What is wrong with a recording, and the settings that fix it.

    Attributes:
        problems: What was found, with figures.
        fixes: Settings that fix it.
        others: Fixes that are no single setting.
        notes: What is doubtful but not refused.

    """

    problems: list[str] = field(default_factory=list)
    fixes: list[Override] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, problem: str, *fixes: Override, other: str = "") -> None:
        """Add a problem with what fixes it."""
        self.problems.append(problem)
        self.fixes += [fix for fix in fixes if fix not in self.fixes]
        if other:
            self.others.append(other)

    @property
    def text(self) -> str:
        """The problems and what fixes them."""
        advice = [f"set {command_text(self.fixes)}"] if self.fixes else []
        return f"{', '.join(self.problems)}; {', '.join([*advice, *self.others])}"

    def message(self, label: str) -> str:
        """Return problems and advice for a file in one line."""
        return f"{label}: {self.text}, or accept the values as they are with {Override('data.checks', 'warn')}"


def judge(evidence: Evidence, settings: PreparationSettings, soc_is_counted: bool = False) -> Judgement:
    """Compare what a recording shows with what a cell can do.

    Later checks use the units that earlier ones suggest, so one line names all settings that a file needs.

    Args:
        evidence: Figures of the recording, in the units that are taken so far.
        settings: Settings that gave the table.
        soc_is_counted: Whether SOC was counted, not read from a column.

    """
    found = Judgement()
    factors = {
        "time": _check_interval(evidence, settings, found),
        "soc": (_check_counted_soc if soc_is_counted else _check_soc)(evidence, settings, found),
    }
    _check_voltage(evidence, settings, found)
    _check_temperature(evidence, settings, found)
    capacity = evidence.capacity_ah
    if capacity is not None:
        capacity *= factors["time"] / factors["soc"]
    _check_current(evidence, capacity, settings, found)
    _check_sign(evidence, capacity, settings, found)
    return found


def _check_interval(evidence: Evidence, settings: PreparationSettings, found: Judgement) -> float:
    """Return the factor that the time should be multiplied by."""
    usual = evidence.interval
    if usual is None:
        return 1.0
    low, high = evidence.intervals
    spread = f", from {_seconds(low)} to {_seconds(high)}" if high > 2 * max(low, 1e-12) else ""
    since_1970 = evidence.start > EPOCH_MILLISECONDS
    if since_1970 or not SHORTEST <= usual <= LONGEST:
        unit = _likely_unit(usual, ("h", "d", "min") if usual < SHORTEST else ("ms", "us", "ns"))
        factor = UNITS["time"][unit][0]
        if low < 0.1 * usual or not SHORTEST <= usual * factor <= LONGEST:
            found.add(
                f"the interval between rows jumps{spread} (usually {_seconds(usual)})",
                other="name another column of time by data.columns.time, or correct the file",
            )
            return 1.0
        shown = "time counts from 1970 and" if since_1970 else f"rows are {_seconds(usual)} apart, so time"
        found.add(f"{shown} is in {unit}", Override("data.units.time", unit))
        return factor
    if units := _units_that_fit(usual, settings):
        said = " or ".join(f"in {unit} ({_seconds(usual * UNITS['time'][unit][0])})" for unit in units)
        found.add(
            f"rows are {_seconds(usual)} apart, so time is {said}",
            Override("data.units.time", units[0]),
            other=f"or keep seconds with {Override('data.units.time', 's')}",
        )
        return UNITS["time"][units[0]][0]
    if evidence.irregular > IRREGULAR and settings.resample is None:
        found.add(
            f"the interval between rows varies{spread}: {100 * evidence.irregular:.2g} % are far from the usual "
            f"{_seconds(usual)}",
            Override("data.resample", float(f"{usual:.3g}")),
        )
    return 1.0


def _likely_unit(usual: float, units: Sequence[str]) -> str:
    """The unit in which an interval is nearest to a usual one; the first of those that are alike."""
    return min(units, key=lambda unit: round(_distance(usual * UNITS["time"][unit][0]), 2))


def _units_that_fit(usual: float, settings: PreparationSettings) -> list[str]:
    """Units in which an odd short interval, such as 0.01667 s, is one that loggers are set to."""
    if not _is_auto(settings, "time") or usual > _ODD or _distance(usual) < _NEAR:
        return []
    return [unit for unit in ("min", "h", "d") if _distance(usual * UNITS["time"][unit][0]) < _NEAR]


def _is_auto(settings: PreparationSettings, quantity: str) -> bool:
    """Whether the unit of a quantity was neither set nor set when the checkpoint was trained."""
    return settings.units.of(quantity) == settings.trained_units.of(quantity) == "auto"


def _distance(interval: float) -> float:
    """Relative distance to the nearest usual interval."""
    return min(abs(interval / usual - 1.0) for usual in _USUAL)


def _check_soc(evidence: Evidence, settings: PreparationSettings, found: Judgement) -> float:
    """Return the factor that SOC should be multiplied by."""
    low, high = evidence.ranges.get("soc", (0.0, 0.0))
    if _is_auto(settings, "soc") and low >= 0 and 0 < high <= 0.01:
        found.add(
            f"SOC is from {low:.2g} to {high:.2g}, so it is from 0 to 1 although its name may say %",
            Override("data.units.soc", "1"),
            other=f"or keep it with {Override('data.units.soc', '%')} if the cell is empty",
        )
        return 100.0
    if SOC_RANGE[0] <= low and high <= SOC_RANGE[1]:
        return 1.0
    shown = f"SOC is from {low:.4g} to {high:.4g}"
    if low >= -5 and 5 < high <= 110:
        found.add(f"{shown}, so it is in %", Override("data.units.soc", "%"))
        return UNITS["soc"]["%"][0]
    found.add(f"{shown}, outside 0 to 1", other="name another column of SOC by data.columns.soc")
    return 1.0


def _check_counted_soc(evidence: Evidence, settings: PreparationSettings, found: Judgement) -> float:
    """Check an SOC that was counted, which a wrong capacity or a wrong start moves out of its range."""
    low, high = evidence.ranges.get("soc", (0.0, 0.0))
    if SOC_RANGE[0] <= low and high <= SOC_RANGE[1]:
        return 1.0
    capacity, initial = settings.soc.capacity_ah or 1.0, settings.soc.initial
    fixes = soc_that_fits((low - high) * capacity, 0.0, capacity)
    if isinstance(initial, int | float):
        fixes = soc_that_fits((low - initial) * capacity, (high - initial) * capacity, capacity)
    found.add(f"SOC, counted with {capacity:g} Ah from {initial}, is from {low:.3g} to {high:.3g}", *fixes)
    return 1.0


def soc_that_fits(lowest: float, highest: float, capacity: float) -> tuple[Override, ...]:
    """Propose a capacity and an initial SOC with which a counted SOC stays within 0 and 1.

    Args:
        lowest: Lowest charge in Ah, from the first row on.
        highest: Highest charge in Ah.
        capacity: Capacity in Ah that is kept if it is enough.

    Example::

        >>> [str(fix) for fix in soc_that_fits(-0.5, 2.0, capacity=2.0)]
        ['data.soc.capacity_ah=2.5', 'data.soc.initial=0.2']

    """
    if highest - lowest > capacity:
        capacity = float(f"{1.02 * (highest - lowest):.2g}")
    initial = 1.0 - max(highest, 0.0) / capacity
    start = (Override("data.soc.initial", math.floor(1000 * initial + 1e-6) / 1000),) if initial < 0.99 else ()
    return (Override("data.soc.capacity_ah", capacity), *start)


def _check_voltage(evidence: Evidence, settings: PreparationSettings, found: Judgement) -> None:
    low, high = evidence.ranges.get("voltage", (0.0, 0.0))
    cells = settings.cells_in_series or 1
    shown = f"the voltage is from {low:.5g} to {high:.5g} V"
    if high / cells > MILLIVOLTS:
        found.add(f"{shown}, so it is in mV", Override("data.units.voltage", "mV"))
    elif high / cells > ONE_CELL:
        guess = max(2, round(high / _PER_CELL))
        what = "more than one cell has" if cells == 1 else f"more than {cells} cells have"
        found.add(f"{shown}, {what}", Override("data.cells_in_series", guess))
    elif "voltage" in evidence.ranges and high / cells < NO_CELL:
        found.add(
            f"the voltage is from {low:.3g} to {high:.3g} V, less than a cell has, so it is normalised or in another "
            "unit",
            other="take values in volts, or correct data.units.voltage",
        )
    elif evidence.dropouts:
        found.add(
            f"the voltage drops to {low:.3g} V from one row to the next, {evidence.dropouts} time"
            f"{'s' if evidence.dropouts > 1 else ''}",
            other="fix or remove the rows where the voltage is lost",
        )
    elif low == high and np.ptp(evidence.ranges.get("current", (0.0, 0.0))) > 0:
        found.notes.append(f"the voltage is {low:.4g} V in all rows, whatever the current")


def _check_temperature(evidence: Evidence, settings: PreparationSettings, found: Judgement) -> None:
    low, high = evidence.ranges.get("temperature", (0.0, 0.0))
    shown = f"the temperature is from {low:.4g} to {high:.4g} degC"
    zero = -UNITS["temperature"]["K"][1]
    if high > HOTTEST and low >= COLDEST + zero and high <= HOTTEST + zero:
        found.add(f"{shown}, so it is in K", Override("data.units.temperature", "K"))
    elif high > HOTTEST or low < -100:
        found.add(
            f"{shown}, which no cell has",
            other="fix or remove these rows, correct data.units.temperature, or name another column of temperature by "
            "data.columns.temperature",
        )
    elif low > WARM and _is_auto(settings, "temperature"):
        found.notes.append(f"{shown}; if it is in degF, set {Override('data.units.temperature', 'degF')}")


def _check_current(evidence: Evidence, capacity: float | None, settings: PreparationSettings, found: Judgement) -> None:
    largest = max(map(abs, evidence.ranges.get("current", (0.0, 0.0))))
    if largest > CELL_CURRENT and not settings.cells_in_series:
        found.add(f"the current reaches {largest:,.5g} A, so it is in mA", Override("data.units.current", "mA"))
        return
    if capacity is None or capacity == 0:
        return
    if abs(capacity) > CELL_CAPACITY:
        found.add(f"current and SOC imply a capacity of {abs(capacity):,.4g} Ah", Override("data.units.current", "mA"))
    elif largest / abs(capacity) > HIGHEST_RATE:
        found.add(
            f"the current reaches {largest / abs(capacity):,.3g} C of the {abs(capacity):.3g} Ah that current and "
            "SOC imply",
            other="check data.units.time, data.units.current and data.units.soc",
        )


def _check_sign(evidence: Evidence, capacity: float | None, settings: PreparationSettings, found: Judgement) -> None:
    sign = evidence.sign
    other = "charge_positive" if settings.current_sign == "discharge_positive" else "discharge_positive"
    turned = Override("data.current_sign", other)
    if sign is not None and sign.share <= WRONG:
        found.add(
            f"the voltage falls where the current rises in {100 * (1 - sign.share):.0f} % of the {sign.steps} largest "
            "steps, so its sign is wrong",
            turned,
            other="" if evidence.ranges["current"][0] < 0 else _NEVER_NEGATIVE,
        )
        return
    if sign is not None and sign.share < FINE:
        found.notes.append(
            f"the voltage rises with the current in only {100 * sign.share:.0f} % of the {sign.steps} largest steps, "
            "so "
            "the sign of the current is uncertain"
        )
    if sign is None and capacity is None and settings.current_sign == "auto" and (evidence.trend or 0.0) < 0:
        never = "" if evidence.ranges["current"][0] < 0 else _NEVER_NEGATIVE
        found.add("the voltage falls while the current charges, so its sign is wrong", turned, other=never)
        return
    if capacity is not None and capacity < 0:
        if sign is not None and sign.share >= FINE:
            found.add(
                f"SOC falls while the current charges (implied capacity {capacity:.3g} Ah), so it is a depth of "
                "discharge",
                Override("data.units.soc", "DOD%" if _in_percent(settings, found) else "DOD"),
            )
        else:
            found.add(
                f"SOC falls while the current charges (implied capacity {capacity:.3g} Ah), so the sign of the "
                "current is "
                "wrong or SOC is a depth of discharge",
                turned,
            )


def _in_percent(settings: PreparationSettings, found: Judgement) -> bool:
    """Whether SOC is in per cent by its setting or a fix, which is dropped for the one that replaces it."""
    percent = Override("data.units.soc", "%")
    suggested = percent in found.fixes
    found.fixes = [fix for fix in found.fixes if fix != percent]
    return suggested or settings.units.of("soc") == "%"


def _seconds(value: float) -> str:
    return f"{value:.4g} s" if value < 1000 else f"{value:,.0f} s"
