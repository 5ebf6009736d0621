"""Find the column of each quantity by the names that testers give it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.synonyms import SYNONYMS
from vestim_pl.data.formats.units import KINDS, parse_unit, split_unit
from vestim_pl.errors import DataError, printable
from vestim_pl.settings.names import nearest_name
from vestim_pl.settings.override import Override

__all__ = ["FoundColumns", "find_columns", "number_doubled"]

_MOST_LISTED = 20
_SUPPLIED = {  # settings that give a quantity which no column has
    "soc": Override("data.soc.capacity_ah", 3.0),
    "temperature": Override("data.temperature", 25),
}


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
            DataError: One line that names every missing column.

        """
        missing = [quantity for quantity in dict.fromkeys(quantities) if quantity not in self.columns]
        settings = {getattr(self.settings, quantity) for quantity in missing}
        others = [name for name in dict.fromkeys(features) if self.resolve(name) not in self.names]
        others = [name for name in others if name not in settings]
        if not missing and not others:
            return
        found = [self._problem(quantity) for quantity in missing]
        found += [f"column {name!r} is missing{_near(name, self.names)}" for name in others]
        advice = self._advice(missing, bool(others))
        raise DataError(f"{self.label}: {', '.join(found)}. {_listed(self.names)}; {advice}")

    def _problem(self, quantity: str) -> str:
        asked = getattr(self.settings, quantity)
        if choices := self.ambiguous.get(quantity):
            *some, last = map(repr, choices)
            return f"the {quantity} may be {', '.join(some)} or {last}"
        if doubled := _numbered(asked or "", self.names):
            return f"column {asked!r} is in the file {len(doubled)} times ({', '.join(map(repr, doubled))})"
        return f"column {asked!r} ({quantity}) is missing{_near(asked or quantity, self._proposals(quantity))}"

    def _advice(self, missing: Sequence[str], features: bool) -> str:
        overrides, alternatives = [], []
        for quantity in missing:
            proposals = self._proposals(quantity)
            if proposals:
                overrides.append(str(Override(f"data.columns.{quantity}", proposals[0])))
            elif quantity not in _SUPPLIED:
                alternatives.append(f"name the column of the {quantity} by data.columns.{quantity}")
            if quantity in _SUPPLIED:
                alternatives.append(f"{'or ' if proposals else ''}supply the {quantity} with {_SUPPLIED[quantity]}")
        if features:
            alternatives.append("correct data.features")
        named = [f"name {'it' if len(overrides) == 1 else 'them'} with {' '.join(overrides)}"] if overrides else []
        return f"{', '.join([*named, *alternatives])}, rename the columns in the file, or leave the file out with data.on_bad_file=skip"

    def _proposals(self, quantity: str) -> tuple[str, ...]:
        """Columns that may be meant, the likeliest first."""
        asked = getattr(self.settings, quantity)
        certain = self.ambiguous.get(quantity) or _numbered(asked or "", self.names)
        if certain:
            return tuple(certain)
        free = [name for name in self.names if name not in self.columns.values()]
        close = nearest_name(asked or quantity, free)
        alike = [name for name in free if parse_unit(self.units.get(name, "")) in KINDS[quantity]]
        return tuple(dict.fromkeys([*([close] if close else []), *alike]))


def find_columns(
    names: Sequence[str], units: Mapping[str, str], columns: Columns | None = None, label: str = ""
) -> FoundColumns:
    """Find the column of each quantity.

    A column that ``data.columns`` names is taken as it is. Where a setting is None, or still has its default and the file has
    no such column, the known names decide; a column whose unit does not fit the quantity is no candidate.

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
    asked = Columns() if columns is None else columns
    found = FoundColumns(names, {**{name: split_unit(name)[1] for name in names}, **units}, asked, label)
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
    return tuple(re.compile("|".join(_key(name).replace("#", r"\d+") for name in row)) for row in SYNONYMS[quantity])


@lru_cache(maxsize=65536)
def _key(name: str) -> str:
    """What is compared: letters, digits and ``#``; a single letter keeps its case."""
    bare = "".join(character for character in name if character.isalnum() or character == "#")
    return bare if len(bare) == 1 else bare.casefold()


def _numbered(name: str, names: Sequence[str]) -> list[str]:
    return [other for other in names if re.fullmatch(rf"{re.escape(name)} #\d+", other)] if name else []


def _near(name: str, names: Iterable[str]) -> str:
    near = nearest_name(name, names)
    return f" (the nearest is {near!r})" if near else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(printable(name[:60])) for name in names[:_MOST_LISTED])
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return f"The file has {shown or 'no columns'}{more}"
