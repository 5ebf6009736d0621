"""Values in VEstim's ``hyperparams.json``: numbers as text, several values as a grid, bounds as a search."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Choice", "Columns", "Flag", "Kind", "Layers", "Number", "Range", "Word", "is_empty"]

Layer = tuple[int, ...]
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Range:
    """Inclusive bounds of a search; for layers, a tuple with the bound of every layer."""

    low: Any
    high: Any


@dataclass(frozen=True)
class Choice:
    """The meaning of a value: one value, several values with a run for each, or a range to search.

    Attributes:
        values: The value, or the values of a grid; empty for a range.
        range: Bounds of a search.

    Example::

        >>> Choice((100, 200)).is_grid, Choice((100,)).one
        (True, 100)

    """

    values: tuple[Any, ...] = ()
    range: Range | None = None

    @property
    def is_grid(self) -> bool:
        """Whether there are several values, with a run for each."""
        return len(self.values) > 1

    @property
    def one(self) -> Any:
        """The value, if there is exactly one."""
        [value] = self.values
        return value

    def map(self, function: Callable[[Any], Any]) -> "Choice":
        """Apply a function to each value, or to both bounds."""
        bounds = Range(function(self.range.low), function(self.range.high)) if self.range else None
        return Choice(tuple(map(function, self.values)), bounds)


class Kind(Protocol):
    """The values that a key may have."""

    def read(self, raw: Any) -> Choice:
        """Convert a value of the file.

        Args:
            raw: Text, number, truth value or list.

        Raises:
            ValueError: If the value is not valid. Its text follows the value in a message: what is wrong, and what to
                write instead.

        """


@dataclass(frozen=True)
class Number:
    """A number, a grid of numbers ``"100,200"``, or bounds of a search ``"[100, 400]"``.

    Attributes:
        example: A valid value, for messages.
        low: Smallest value.
        high: Largest value.
        above: The value must be larger than this.
        below: The value must be smaller than this.
        whole: Whether it must be an integer.
        several: Whether a grid or a search is allowed.

    Example::

        >>> Number("200", low=1, whole=True).read("100,200")
        Choice(values=(100, 200), range=None)
        >>> Number("0.001", above=0).read("[1e-5,1e-2]").range
        Range(low=1e-05, high=0.01)

    """

    example: str
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    whole: bool = False
    several: bool = True

    def read(self, raw: Any) -> Choice:
        if isinstance(raw, str) and raw.strip().startswith("["):
            raw = _inside_brackets(raw).split(",")
        if isinstance(raw, list):
            return self._bounds(raw)
        return Choice(self._numbers(raw.split(",") if isinstance(raw, str) else [raw]))

    def _bounds(self, parts: list[Any]) -> Choice:
        if len(parts) != 2:
            raise ValueError(f'has {len(parts)} values in brackets; write bounds of a search as "[low, high]"')
        low, high = self._numbers(parts)
        if low > high:
            raise ValueError(f'has its lower bound above the upper; write "[{high}, {low}]"')
        return Choice((low,)) if low == high else Choice(range=Range(low, high))

    def _numbers(self, parts: list[Any]) -> tuple[int | float, ...]:
        if len(parts) == 1:
            return (self._number(parts[0]),)
        if not self.several:
            raise ValueError(f'has several values; write one, such as "{self.example}"')
        try:
            return tuple(map(self._number, parts))
        except ValueError as error:
            raise ValueError(f"has a value that {error}") from None

    def _number(self, raw: Any) -> int | float:
        text = raw.strip() if isinstance(raw, str) else "" if isinstance(raw, bool | list | None) else repr(raw)
        if not _NUMBER.fullmatch(text):
            decimal = " (the decimal sign is a point)" if re.fullmatch(r"0\d+", text) else ""
            raise ValueError(f'is not a number{decimal}; write a number such as "{self.example}"')
        number = float(text)
        if self.whole and not number.is_integer():
            raise ValueError(f'is not a whole number; write one such as "{self.example}"')
        if not (self.low <= number <= self.high and self.above < number < self.below and math.isfinite(number)):
            raise ValueError(f'is not {self._limits()}; write a number such as "{self.example}"')
        return int(number) if self.whole else number

    def _limits(self) -> str:
        limits = [("at least", self.low), ("at most", self.high), ("above", self.above), ("below", self.below)]
        return " and ".join(f"{word} {limit:g}" for word, limit in limits if math.isfinite(limit)) or "finite"


@dataclass(frozen=True)
class Flag:
    """A truth value, also as text or as 0 and 1.

    Example::

        >>> Flag().read("True").one, Flag().read(0).one
        (True, False)

    """

    def read(self, raw: Any) -> Choice:
        text = str(raw).strip().lower()
        if text not in ("true", "1", "yes", "false", "0", "no"):
            raise ValueError("is neither true nor false; write true or false")
        return Choice((text in ("true", "1", "yes"),))


@dataclass(frozen=True)
class Word:
    """A word of a given set, in upper or lower case, or any text.

    Attributes:
        words: Valid words as VEstim writes them; empty for any text.
        instead: What to write instead of another word, for messages.
        several: Whether a grid is allowed.

    Example::

        >>> Word(("Adam", "AdamW"), several=True).read("adam, AdamW")
        Choice(values=('Adam', 'AdamW'), range=None)

    """

    words: tuple[str, ...] = ()
    instead: str = ""
    several: bool = False

    def read(self, raw: Any) -> Choice:
        if not isinstance(raw, str):
            raise ValueError("is not text; write it in quotes")
        parts = raw.split(",") if self.several else [raw]
        return Choice(tuple(self._word(part.strip()) for part in parts))

    def _word(self, text: str) -> str:
        known = {word.casefold(): word for word in self.words}
        if known and text.casefold() not in known:
            raise ValueError(f"is not supported; {self.instead or 'write one of ' + ', '.join(self.words)}")
        return known.get(text.casefold(), text)


@dataclass(frozen=True)
class Columns:
    """Names of columns as one value: a list, or text with commas.

    Example::

        >>> Columns().read(["SOC", "Current"]).one
        ('SOC', 'Current')

    """

    def read(self, raw: Any) -> Choice:
        names = raw.split(",") if isinstance(raw, str) else raw
        if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
            raise ValueError('is not a list of column names; write ["SOC", "Current", "Temp"]')
        columns = tuple(name.strip() for name in names)
        for name in columns:
            if columns.count(name) > 1:
                raise ValueError(f"names {name!r} twice; name it once")
        return Choice((columns,))


@dataclass(frozen=True)
class Layers:
    """Sizes of the layers ``"64,32"``, several networks ``"64,32;128,64"``, or bounds ``"[[32,16],[128,64]]"``.

    Attributes:
        pairs: Whether an inner list holds the bounds of one layer, as in FNN_UNITS. Otherwise the first inner list
            holds the lower bounds of all layers, and the second the upper bounds.

    Example::

        >>> Layers().read("64,32;128,64").values
        ((64, 32), (128, 64))
        >>> Layers().read("[[32,16],[128,64]]").range
        Range(low=(32, 16), high=(128, 64))
        >>> Layers(pairs=True).read("[[8,64],[8,32]]").range
        Range(low=(8, 8), high=(64, 32))

    """

    pairs: bool = False

    def read(self, raw: Any) -> Choice:
        if isinstance(raw, str) and "[" in raw:
            return self._from_brackets(raw)
        if isinstance(raw, str):
            return Choice(tuple(_sizes(part.split(",")) for part in re.split("[;:]", raw) if part.strip()))
        if isinstance(raw, list) and any(isinstance(part, list) for part in raw):
            return self._from_lists([_sizes(part) for part in raw])
        if isinstance(raw, list) and any(isinstance(part, str) and "," in part for part in raw):
            return Choice(tuple(_sizes(part.split(",") if isinstance(part, str) else [part]) for part in raw))
        return Choice((_sizes(raw if isinstance(raw, list) else [raw]),))

    def _from_brackets(self, raw: str) -> Choice:
        if re.sub(r"[\s,;:\[\]]", "", _BRACKETS.sub("", raw)):
            raise ValueError('mixes brackets and plain sizes; write "64,32" or bounds "[[32,16],[128,64]]"')
        inner = [_sizes(part.split(",")) for part in _BRACKETS.findall(raw)]
        if len(inner) == 1 and not self.pairs:
            raise ValueError(f'could be sizes or bounds; write sizes as "{_BRACKETS.findall(raw)[0]}" or bounds of one'
                             ' layer as "[[32],[128]]"')  # fmt: skip
        return self._from_lists(inner)

    def _from_lists(self, inner: list[Layer]) -> Choice:
        if self.pairs:
            if any(len(pair) != 2 for pair in inner):
                raise ValueError('has a layer without two bounds; write "[[8,64],[8,64]]", a pair for each layer')
            return _between(tuple(pair[0] for pair in inner), tuple(pair[1] for pair in inner))
        return _between(*inner) if len(inner) == 2 else Choice(tuple(inner))


def is_empty(raw: Any) -> bool:
    """Whether a key has no value: null, blank text or an empty list."""
    return raw is None or raw == [] or (isinstance(raw, str) and not raw.strip())


def _between(low: Layer, high: Layer) -> Choice:
    if len(low) != len(high):
        raise ValueError(f"has lower bounds of {len(low)} layers and upper bounds of {len(high)}; give the same number")
    if any(small > large for small, large in zip(low, high, strict=True)):
        raise ValueError('has a lower bound above the upper; write all lower bounds first: "[[32,16],[128,64]]"')
    return Choice((low,)) if low == high else Choice(range=Range(low, high))


def _sizes(parts: Any) -> Layer:
    if not isinstance(parts, list) or not parts:
        raise ValueError('is not a list of layer sizes; write "64,32"')
    number = Number("64,32", low=1, whole=True, several=False)
    return tuple(number.read(part.strip() if isinstance(part, str) else part).one for part in parts)


def _inside_brackets(raw: str) -> str:
    text = raw.strip()
    if not text.endswith("]") or text.count("[") != 1 or text.count("]") != 1:
        raise ValueError('is not a pair of bounds; write "[low, high]"')
    return text[1:-1]
