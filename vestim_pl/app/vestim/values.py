"""Values of VEstim's ``hyperparams.json``, where numbers are text, several values are a grid and bounds a search."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Choice", "Columns", "Flag", "Kind", "Layers", "Number", "Range", "Word", "is_empty"]

Layer = tuple[int, ...]
Value = TypeVar("Value")
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Range:
    """Bounds between which a search draws, both included; for layers the bounds of every layer.

    Attributes:
        low: Lower bound.
        high: Upper bound.

    """

    low: Any
    high: Any


@dataclass(frozen=True)
class Choice:
    """What a key asks for: one value, a run for each of several, or a range to search.

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
        """Whether there are several values, a run for each."""
        return len(self.values) > 1

    @property
    def one(self) -> Any:
        """The value, where there is exactly one."""
        [value] = self.values
        return value

    def map(self, function: Callable[[Any], Any]) -> "Choice":
        """The same choice of other values: ``function`` of each value, or of each bound."""
        between = Range(function(self.range.low), function(self.range.high)) if self.range else None
        return Choice(tuple(map(function, self.values)), between)


class Kind:
    """What a key's value may be.

    ``read`` raises ValueError for a value that makes no sense: its text follows the value in the message, and says
    what is wrong and what to write instead.
    """

    def read(self, raw: Any) -> Choice:
        """The value that VEstim's text, number or list stands for."""
        raise NotImplementedError


@dataclass(frozen=True)
class Number(Kind):
    """A number, a grid of numbers ``"100,200"``, or bounds of a search ``"[100, 400]"``.

    Attributes:
        example: A value that is fine, for messages.
        low: Smallest value.
        high: Largest value.
        above: The value must be larger than this.
        below: The value must be smaller than this.
        whole: Only integers.
        several: Whether a grid or a search makes sense.

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
        """One number, a grid or a range."""
        if isinstance(raw, str) and raw.strip().startswith("["):
            raw = _inside(raw).split(",")
        if isinstance(raw, list):
            return self._bounds(raw)
        parts = raw.split(",") if isinstance(raw, str) else [raw]
        return Choice(self._numbers(parts))

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
            return tuple(self._number(part) for part in parts)
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
            raise ValueError(f'is not {self._span()}; write a number such as "{self.example}"')
        return int(number) if self.whole else number

    def _span(self) -> str:
        words = [("at least", self.low), ("at most", self.high), ("above", self.above), ("below", self.below)]
        return " and ".join(f"{word} {bound:g}" for word, bound in words if math.isfinite(bound)) or "finite"


@dataclass(frozen=True)
class Flag(Kind):
    """True or false, as JSON has it or as text.

    Example::

        >>> Flag().read("True").one, Flag().read(0).one
        (True, False)

    """

    def read(self, raw: Any) -> Choice:
        """True or false."""
        text = str(raw).strip().lower()
        if text in ("true", "1", "yes"):
            return Choice((True,))
        if text in ("false", "0", "no"):
            return Choice((False,))
        raise ValueError("is neither true nor false; write true or false")


@dataclass(frozen=True)
class Word(Kind):
    """One of some words, in any case of letters, or any text.

    Attributes:
        words: Words as VEstim writes them; none for any text.
        instead: What to say of any other word.
        several: Whether a grid makes sense.

    Example::

        >>> Word(("Adam", "AdamW"), several=True).read("adam, AdamW")
        Choice(values=('Adam', 'AdamW'), range=None)

    """

    words: tuple[str, ...] = ()
    instead: str = ""
    several: bool = False

    def read(self, raw: Any) -> Choice:
        """One word, or a grid of words."""
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
class Columns(Kind):
    """Names of columns: a list, or text with commas.

    Example::

        >>> Columns().read(["SOC", "Current"]).one
        ('SOC', 'Current')

    """

    def read(self, raw: Any) -> Choice:
        """The names, as one value."""
        names = raw.split(",") if isinstance(raw, str) else raw
        if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
            raise ValueError('is not a list of column names; write ["SOC", "Current", "Temp"]')
        columns = tuple(name.strip() for name in names)
        for name in columns:
            if columns.count(name) > 1:
                raise ValueError(f"names {name!r} twice; name it once")
        return Choice((columns,))


@dataclass(frozen=True)
class Layers(Kind):
    """Sizes of the layers ``"64,32"``, several networks ``"64,32;128,64"``, or bounds ``"[[32,16],[128,64]]"``.

    Attributes:
        pairs: Whether an inner list of bounds is one layer's ``[low, high]``, as in FNN_UNITS, instead of the lower
            or the upper bound of every layer.

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
        """One list of sizes, several, or a range of lists."""
        if isinstance(raw, str) and "[" in raw:
            return self._of_brackets(raw)
        if isinstance(raw, str):
            return Choice(tuple(_sizes(part.split(",")) for part in re.split("[;:]", raw) if part.strip()))
        if isinstance(raw, list) and any(isinstance(part, list) for part in raw):
            return self._of_lists([_sizes(part) for part in raw])
        if isinstance(raw, list) and any(isinstance(part, str) and "," in part for part in raw):
            return Choice(tuple(_sizes(part.split(",") if isinstance(part, str) else [part]) for part in raw))
        return Choice((_sizes(raw if isinstance(raw, list) else [raw]),))

    def _of_brackets(self, raw: str) -> Choice:
        if re.sub(r"[\s,;:\[\]]", "", _BRACKETS.sub("", raw)):
            raise ValueError('mixes brackets and plain sizes; write "64,32" or bounds "[[32,16],[128,64]]"')
        inner = [_sizes(part.split(",")) for part in _BRACKETS.findall(raw)]
        if len(inner) == 1 and not self.pairs:
            raise ValueError(f'could be sizes or bounds; write sizes as "{_BRACKETS.findall(raw)[0]}" or bounds of one'
                             ' layer as "[[32],[128]]"')  # fmt: skip
        return self._of_lists(inner)

    def _of_lists(self, inner: list[Layer]) -> Choice:
        if self.pairs:
            if any(len(pair) != 2 for pair in inner):
                raise ValueError('has a layer without two bounds; write "[[8,64],[8,64]]", a pair for each layer')
            return _between(tuple(pair[0] for pair in inner), tuple(pair[1] for pair in inner))
        return _between(*inner) if len(inner) == 2 else Choice(tuple(inner))


def is_empty(raw: Any) -> bool:
    """Whether a key of the file has no value: null, no text, or an empty list."""
    return raw is None or raw == [] or (isinstance(raw, str) and not raw.strip())


def _between(low: Layer, high: Layer) -> Choice:
    if len(low) != len(high):
        raise ValueError(f"has lower bounds of {len(low)} layers and upper bounds of {len(high)}; give each as many")
    if any(small > large for small, large in zip(low, high, strict=True)):
        raise ValueError('has a lower bound above the upper; write all lower ones first: "[[32,16],[128,64]]"')
    return Choice((low,)) if low == high else Choice(range=Range(low, high))


def _sizes(parts: Any) -> Layer:
    number = Number("64,32", low=1, whole=True, several=False)
    return tuple(number.read(part.strip() if isinstance(part, str) else part).one for part in _listed(parts))


def _listed(parts: Any) -> list[Any]:
    if not isinstance(parts, list) or not parts:
        raise ValueError('is not a list of layer sizes; write "64,32"')
    return parts


def _inside(raw: str) -> str:
    text = raw.strip()
    if not text.endswith("]") or text.count("[") != 1 or text.count("]") != 1:
        raise ValueError('is not a pair of bounds; write "[low, high]"')
    return text[1:-1]
