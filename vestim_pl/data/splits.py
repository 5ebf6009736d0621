"""Which files belong to which split: by subfolder, or by rules on their names and dates."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from fnmatch import fnmatch
from pathlib import Path

from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.settings.override import Override

__all__ = ["BY_SHARE", "SplitRules", "assign", "proposed_rules"]

_RANGE = re.compile(r"(\d{4}-\d\d-\d\d)?\.\.(\d{4}-\d\d-\d\d)?")
_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_.]?([01]\d)[-_.]?([0-3]\d)(?!\d)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)%\.\.(\d+(?:\.\d+)?)%")
BY_SHARE = (Override("data.split.val", "70%..85%"), Override("data.split.test", "85%..100%"))
"""Rules for recordings that are too few to be divided: the end of each is for validation and test."""

Rule = str | Sequence[str] | None
DateOf = Callable[[Path], date | None]


@dataclass(frozen=True)
class SplitRules:
    """Name the recordings of each split, in a folder without the subfolders train, val and test.

    A rule is a pattern such as ``*LA92*``, which is compared with the path below the folder, a list in a file such as
    ``@test.txt`` (one pattern a line), a range of dates such as ``2031-03-01..2031-03-31``, or a list of these.
    A share such as ``85%..100%`` takes these rows of every recording, so that a few recordings serve all splits; then
    all rules are shares.

    Attributes:
        train: Recordings to train on; None for all that no other rule names, or all rows before the other shares.
        val: Recordings to validate on.
        test: Recordings to test on.

    Raises:
        ConfigurationError: If a rule is empty, a range has no date, or shares overlap.

    Example::

        >>> rules = SplitRules(test="*LA92*", val=["*US06*"])
        >>> files = [Path("d/25degC_UDDS.csv"), Path("d/25degC_LA92.csv"), Path("d/25degC_US06.csv")]
        >>> {split: [path.stem for path in paths] for split, paths in assign(Path("d"), files, rules).items()}
        {'train': ['25degC_UDDS'], 'val': ['25degC_US06'], 'test': ['25degC_LA92']}

    """

    train: Rule = None
    val: Rule = None
    test: Rule = None

    def __post_init__(self) -> None:
        for item in fields(self):
            rules = getattr(self, item.name)
            for rule in [rules] if isinstance(rules, str) else rules or []:
                if not isinstance(rule, str) or not rule.strip() or rule.strip() == "..":
                    raise ConfigurationError(
                        f"data.split.{item.name}: {rule!r} names no recordings; use for example '*LA92*', "
                        "'@list.txt' or "
                        "'2031-03-01..2031-03-31'"
                    )
        if self.by_share:
            self._check_shares()

    @property
    def given(self) -> bool:
        """Whether any rule is given; else the subfolders count."""
        return any(getattr(self, item.name) is not None for item in fields(self))

    @property
    def by_share(self) -> bool:
        """Whether every recording is divided by its rows."""
        return any(_SHARE.fullmatch(rule) for item in fields(self) for rule in self.of(item.name))

    def share(self, split: str) -> tuple[float, float]:
        """Return the first and last row of each recording that a split has, as shares of all rows.

        Example::

            >>> rules = SplitRules(val="70%..85%", test="85%..100%")
            >>> rules.share("train"), rules.share("test")
            ((0.0, 0.7), (0.85, 1.0))

        """
        if not self.by_share:
            return 0.0, 1.0
        rules = self.of(split)
        if not rules:
            others = [self.share(each)[0] for each in ("val", "test") if self.of(each)]
            return 0.0, min(others) if split == "train" and others else 0.0
        low, high = (float(bound) / 100 for bound in _SHARE.fullmatch(rules[0]).groups())  # type: ignore[union-attr]
        return low, high

    def _check_shares(self) -> None:
        given = [item.name for item in fields(self) if self.of(item.name)]
        for split in given:
            rules = self.of(split)
            if len(rules) > 1 or _SHARE.fullmatch(rules[0]) is None:
                raise ConfigurationError(
                    f"data.split.{split}: {rules[0] if len(rules) == 1 else rules!r} beside a share of every "
                    f"recording; use shares alone, for example {' '.join(map(str, BY_SHARE))}"
                )
        last = 0.0
        for low, high, split in sorted((*self.share(split), split) for split in {"train", *given}):
            if not last <= low < high <= 1:
                raise ConfigurationError(
                    f"data.split.{split}: {100 * low:g}%..{100 * high:g}% of the rows is empty, or in another split "
                    f"too; use for example {' '.join(map(str, BY_SHARE))}"
                )
            last = high

    def of(self, split: str) -> list[str]:
        """Return the rules of a split."""
        rules = getattr(self, split)
        return [rules] if isinstance(rules, str) else list(rules or [])


def assign(
    root: Path, files: Sequence[Path], rules: SplitRules, date_of: DateOf = lambda path: None
) -> dict[str, list[Path]]:
    """Assign files to splits.

    Args:
        root: Folder of the data.
        files: All recordings below it.
        rules: The rules.
        date_of: Reads the date of a recording from its content, for ranges of dates where its path has none.

    Raises:
        DataError: If a rule names no recording, or two splits name the same.

    """
    if rules.by_share:
        return {split: list(files) if rules.share(split)[1] > 0 else [] for split in ("train", "val", "test")}
    chosen: dict[Path, str] = {}
    assigned: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
    for split in ("test", "val", "train"):
        for rule in _expanded(rules.of(split), root, split):
            matching = [path for path in files if _matches(rule, root, path, date_of)]
            if not matching:
                raise DataError(
                    f"data.split.{split}: {rule!r} names none of the {len(files)} recordings in {root} "
                    f"({_some(root, files)}); correct the pattern"
                )
            for path in matching:
                if chosen.setdefault(path, split) != split:
                    raise DataError(
                        f"data.split.{split}: {path.relative_to(root).as_posix()} is named by {rule!r} and by "
                        f"data.split.{chosen[path]}; a recording in two splits makes errors look too small: change one"
                    )
    if rules.train is None:
        chosen |= {path: "train" for path in files if path not in chosen}
    for path in files:
        if path in chosen:
            assigned[chosen[path]].append(path)
    return assigned


def proposed_rules(names: Iterable[str]) -> tuple[Override, ...]:
    r"""Propose rules for a folder without subfolders, by the words that its files' names share.

    Returns:
        Settings; none with fewer than three files.

    Example::

        >>> names = ["25degC_LA92", "25degC_UDDS", "n10degC_LA92", "n10degC_UDDS", "0degC_US06"]
        >>> print(" ".join(map(str, proposed_rules(names))))
        'data.split.test="*LA92*"' 'data.split.val="*UDDS*"'

    """
    stems = sorted({Path(name).stem for name in names})
    if len(stems) < 3:
        return ()
    words = Counter(word for stem in stems for word in set(re.split(r"[^A-Za-z0-9]+", stem)) if len(word) > 2)
    shared = [
        word for word, count in words.items() if 1 < count <= len(stems) // 2 and not re.search(r"\d(deg)?C$", word)
    ]
    test, val = sorted(shared)[:2] if len(shared) >= 2 else (stems[0], stems[1])
    test, val = (f"*{word}*" for word in (test, val))
    return Override("data.split.test", test), Override("data.split.val", val)


def _expanded(rules: Sequence[str], root: Path, split: str) -> list[str]:
    """Replace each list in a file by its lines."""
    lines: list[str] = []
    for rule in rules:
        if not rule.startswith("@"):
            lines.append(rule)
            continue
        path = next((path for path in (Path(rule[1:]).expanduser(), root / rule[1:]) if path.is_file()), None)
        if path is None:
            raise DataError(f"data.split.{split}: there is no file {rule[1:]}, here or in {root}; correct its path")
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        lines += [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return lines


def _matches(rule: str, root: Path, path: Path, date_of: DateOf) -> bool:
    if (bounds := _RANGE.fullmatch(rule)) is not None:
        day = _date_in(path.relative_to(root).as_posix()) or date_of(path)
        first, last = (date.fromisoformat(text) if text else None for text in bounds.groups())
        return day is not None and (first is None or first <= day) and (last is None or day <= last)
    relative = path.relative_to(root).as_posix()
    return any(fnmatch(name, rule) for name in (relative, path.name, path.stem, relative.removesuffix(path.suffix)))


def _date_in(text: str) -> date | None:
    for found in reversed(list(_DATE.finditer(text))):
        try:
            return date(*map(int, found.groups()))
        except ValueError:
            continue
    return None


def _some(root: Path, files: Sequence[Path], most: int = 4) -> str:
    names = [path.relative_to(root).as_posix() for path in files]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
