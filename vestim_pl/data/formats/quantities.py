"""Find the column of each quantity by the names that testers give it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

from vestim_pl.data.columns import Columns
from vestim_pl.data.fixes import FixableError
from vestim_pl.data.formats.raw_table import LEAVE_OUT
from vestim_pl.data.formats.synonyms import SYNONYMS
from vestim_pl.data.formats.units import KINDS, Unit, parse_unit, split_unit, units_of_names
from vestim_pl.errors import printable
from vestim_pl.settings.names import nearest_name
from vestim_pl.settings.override import Override, command_text

__all__ = ["FoundColumns", "columns_to_read", "count_quantities", "find_columns", "number_doubled"]

_MOST_LISTED = 20
_ALIKE = 0.8
_SUPPLIED = {  # settings that give a quantity which no column has
    "soc": ("the capacity of the cell, from which SOC is counted", Override("data.soc.capacity_ah", 3.0)),
    "temperature": ("a constant temperature in degC", Override("data.temperature", 25)),
}
_STEMS = {
    quantity: re.compile(stem, re.IGNORECASE)
    for quantity, stem in {
        "time": "time|zeit|sec",
        "current": "curr|amp(?!.*h)|strom",
        "voltage": "volt|spann|potential",
        "temperature": "temp(?!.*(diff|delta|rise))",
        "soc": r"soc|state.?of.?charge",
    }.items()
}
"""Parts of names that say which quantity a column may have; for proposals only."""


@dataclass(frozen=True)
class FoundColumns:
    """Which column of a file has which quantity.

    Attributes:
        names: All columns of the file.
        units: Unit by column as written.
        settings: What ``data.columns`` asks for.
        label: Name of the file for messages.
        columns: Column by quantity; a quantity that was not found is absent. ``state``, ``ah``, ``charge_ah`` and
            ``discharge_ah`` have no setting and are found by their names alone.
        taken: The ones of ``columns`` that are called otherwise than the settings say.
        ambiguous: Columns among which the user has to choose, by quantity.

    """

    names: Sequence[str]
    units: Mapping[str, str]
    settings: Columns
    label: str
    columns: dict[str, str] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    ambiguous: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        """Return the file's column for a feature: ``SoC [%]`` for ``SOC``; other names stay."""
        for item in fields(self.settings):
            if getattr(self.settings, item.name) == name:
                return self.columns.get(item.name, name)
        return name

    def require(self, quantities: Iterable[str], features: Iterable[str] = ()) -> None:
        """Refuse a file that lacks a column, with a proposal for each in a form that can be pasted into a shell.

        Args:
            quantities: Quantities that have to be in the file.
            features: Other columns that have to be in the file.

        Raises:
            FixableError: One line that names every missing column.

        """
        missing = [quantity for quantity in dict.fromkeys(quantities) if quantity not in self.columns]
        known = {getattr(self.settings, quantity) for quantity in missing}
        others = [
            name for name in dict.fromkeys(features) if name not in known and self.resolve(name) not in self.names
        ]
        if missing or others:
            message = f"{self.label}: {self._problem(missing, others)}; {self._advice(missing, others)}"
            raise FixableError(message, guesses=self._guesses(missing))

    def _problem(self, missing: Sequence[str], others: Sequence[str]) -> str:
        problems, absent = [], []
        for quantity in missing:
            asked = getattr(self.settings, quantity) or quantity
            if choices := self.ambiguous.get(quantity):
                problems.append(f"the {quantity} may be {_joined(choices, 'or')}")
            elif doubled := _numbered(asked, self.names):
                problems.append(f"column {asked!r} is there {len(doubled)} times: {_joined(doubled, 'and')}")
            else:
                absent.append(asked)
        absent += others
        if absent:
            problems.append(f"column{'s' * (len(absent) > 1)} {_joined(absent, 'and')} {_is(absent)} missing")
        return f"{', '.join(problems)} among {_listed(self.names)}"

    def _advice(self, missing: Sequence[str], others: Sequence[str]) -> str:
        overrides = [each for each in self._guesses(missing) if each.key.startswith("data.columns.")]
        advice = [f"name {'it' if len(overrides) == 1 else 'them'} with {command_text(overrides)}"] if overrides else []
        for quantity in missing:
            if quantity in _SUPPLIED:
                what, setting = _SUPPLIED[quantity]
                advice.append(f"give {what}: {setting}")
            elif not self._proposals(quantity):
                advice.append(f"set data.columns.{quantity} to the column of the {quantity}")
        for name in others:
            near = nearest_name(name, self.names)
            advice.append(f"correct {name!r} in data.features" + (f" (the nearest is {near!r})" if near else ""))
        return f"{', '.join(advice)}, {LEAVE_OUT}"

    def _guesses(self, missing: Sequence[str]) -> list[Override]:
        """Return for each missing quantity the likeliest column, else the setting that supplies it."""
        guesses = []
        for quantity in missing:
            if proposals := self._proposals(quantity):
                guesses.append(Override(f"data.columns.{quantity}", proposals[0]))
            elif quantity in _SUPPLIED:
                guesses.append(_SUPPLIED[quantity][1])
        return guesses

    def _proposals(self, quantity: str) -> tuple[str, ...]:
        """Columns that may be meant, the likeliest first."""
        asked = getattr(self.settings, quantity) or quantity
        certain = self.ambiguous.get(quantity) or _numbered(asked, self.names)
        if certain:
            return tuple(certain)
        # A column whose unit is one of another quantity is not meant, nor is one that is taken.
        kinds = {name: parse_unit(self.units[name]) for name in self.names if self.units.get(name)}
        free = [name for name in self.names if name not in self.columns.values()]
        free = [name for name in free if kinds.get(name) is None or kinds[name] in KINDS[quantity]]
        by_base = {split_unit(name)[0]: name for name in reversed(free)}
        near = nearest_name(asked, free, _ALIKE) or by_base.get(nearest_name(asked, by_base, _ALIKE) or "")
        named = [name for name in free if _STEMS[quantity].search(name)]
        measured = [name for name in free if kinds.get(name) in KINDS[quantity] - {Unit.ONE}]
        return tuple(dict.fromkeys([*([near] if near else []), *named, *measured]))


def find_columns(
    names: Sequence[str], units: Mapping[str, str], columns: Columns | None = None, label: str = ""
) -> FoundColumns:
    """Find the column of each quantity.

    A column that ``data.columns`` names is taken as it is. Where a setting is None, or still has its default and the
    file has no such column, the known names decide. A column whose unit does not fit the quantity is no candidate.

    Args:
        names: Columns of the file.
        units: Unit by column as written.
        columns: What ``data.columns`` asks for.
        label: Name of the file for messages.

    Example::

        >>> found = find_columns(["Test_Time(s)", "Step_Time(s)", "Voltage(V)", "Current(A)"], {})
        >>> found.columns
        {'time': 'Test_Time(s)', 'current': 'Current(A)', 'voltage': 'Voltage(V)'}
        >>> find_columns(["Current_load", "Current (mA)"], {}).columns
        {'current': 'Current (mA)'}

    """
    found = _found(tuple(names), tuple(units.items()), Columns() if columns is None else columns)
    return replace(found, label=label)


@lru_cache(maxsize=16)  # the files of a folder mostly have the same columns
def _found(names: tuple[str, ...], units: tuple[tuple[str, str], ...], asked: Columns) -> FoundColumns:
    found = FoundColumns(names, {**units_of_names(names), **dict(units)}, asked, "")
    defaults = {item.name: item.default for item in fields(Columns)}
    for quantity in SYNONYMS:
        setting, default = getattr(asked, quantity, None), defaults.get(quantity)
        if setting is not None and setting != default:
            candidates: tuple[str, ...] = (setting,) if setting in names else ()
        else:
            candidates = _candidates(quantity, setting, found)
        if len(candidates) == 1:
            found.columns[quantity] = candidates[0]
            if candidates[0] != setting:
                found.taken[quantity] = candidates[0]
        elif candidates:
            found.ambiguous[quantity] = candidates
    return found


def columns_to_read(
    names: Sequence[str], units: Mapping[str, str], wanted: Columns | None, extra: Sequence[str]
) -> list[str]:
    """Return the columns to read, in the order of the file.

    Args:
        names: Columns of the file.
        units: Unit by column as written.
        wanted: Columns of the quantities; None for all columns.
        extra: Further columns.

    """
    if wanted is None:
        return list(names)
    found = find_columns(names, units, wanted)
    chosen = {*found.columns.values(), *map(found.resolve, extra)}
    return [name for name in names if name in chosen]


def count_quantities(names: Sequence[str], wanted: Columns | None) -> int:
    """How many quantities a table has, to choose among the tables of a file."""
    found = find_columns(names, {}, wanted)
    return sum(item.name in found.columns or item.name in found.ambiguous for item in fields(Columns))


def number_doubled(names: Sequence[str]) -> list[str]:
    """Number the columns that have the same name, because taking the first of them would be a guess.

    Example::

        >>> number_doubled(["Time", "Voltage", "Voltage", ""])
        ['Time', 'Voltage #1', 'Voltage #2', 'column 4']

    """
    stripped = [name.strip() or f"column {number}" for number, name in enumerate(names, start=1)]
    total = {name: stripped.count(name) for name in set(stripped)} if len(set(stripped)) < len(stripped) else {}
    seen: dict[str, int] = {}
    for index, name in enumerate(stripped):
        if total.get(name, 1) > 1:
            seen[name] = seen.get(name, 0) + 1
            stripped[index] = f"{name} #{seen[name]}"
    return stripped


def _candidates(quantity: str, default: str | None, found: FoundColumns) -> tuple[str, ...]:
    for row, pattern in enumerate(_patterns(quantity)):
        fits = tuple(name for name in found.names if _fits(name, found.units.get(name, ""), quantity, pattern))
        # The first row of the times are names beside which the default is another time.
        if default in found.names and (row > 0 or quantity != "time" or not fits):
            return (default,) if default is not None else ()
        if fits:
            return fits
    return ()


def _fits(name: str, unit: str, quantity: str, pattern: re.Pattern[str]) -> bool:
    base, own = split_unit(name)
    if not pattern.fullmatch(_key(base)):
        return False
    known = parse_unit(unit or own) if unit or own else None
    return known in KINDS[quantity] if known is not None else not (unit or own)


@lru_cache
def _patterns(quantity: str) -> tuple[re.Pattern[str], ...]:
    """One pattern for each row of the table."""
    rows = (line.split(", ") for line in SYNONYMS[quantity])
    return tuple(re.compile("|".join(_key(name).replace("#", r"\d+") for name in row)) for row in rows)


@lru_cache(maxsize=65536)
def _key(name: str) -> str:
    """What is compared: letters, digits and ``#``; a single letter keeps its case."""
    bare = "".join(character for character in name if character.isalnum() or character == "#")
    return bare if len(bare) == 1 else bare.casefold()


def _numbered(name: str, names: Sequence[str]) -> list[str]:
    return [other for other in names if re.fullmatch(rf"{re.escape(name)} #\d+", other)] if name else []


def _joined(names: Sequence[str], word: str) -> str:
    *some, last = [repr(printable(name)) for name in names]
    return f"{', '.join(some)} {word} {last}" if some else last


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(printable(name[:60])) for name in names[:_MOST_LISTED])
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return f"{shown or 'no columns'}{more}"
