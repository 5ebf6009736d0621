"""A conversion in progress: the settings so far, and the result for each key of the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from vestim_pl.app.vestim.keys import KEYS
from vestim_pl.app.vestim.values import Choice, is_empty
from vestim_pl.errors import ConfigurationError

__all__ = ["Draft", "Row", "Setting", "shown"]

IMPLIED = "(not in the file)"


@dataclass(frozen=True)
class Setting:
    """A setting of this package that a file asks for.

    Attributes:
        target: Name of the setting or of the group.
        choice: Its value, the values of a grid, or the bounds of a search.
        sources: Keys of the file that ask for it; empty if VEstim implies it.
        chooses: Whether the value is a choice of a group, such as ``network=gru``.
        group: Group whose choice by the file has this setting; empty if every choice has it.
        adds: Whether ``conf/`` lacks the setting, so that Hydra must add it.

    """

    target: str
    choice: Choice
    sources: tuple[str, ...] = ()
    chooses: bool = False
    group: str = ""
    adds: bool = False


@dataclass(frozen=True)
class Row:
    """The result for one key.

    Attributes:
        key: Key of the file, or a note that it is not in the file.
        value: Its value in the file.
        outcome: The result in words.
        target: The setting it became, if any.

    """

    key: str
    value: str
    outcome: str
    target: str = ""


@dataclass
class Draft:
    """State of a conversion, which the rules read and write.

    Attributes:
        file: Name of the file, for messages.
        raw: Keys and values of the file.
        settings: Settings so far.
        outcomes: Result for each key so far.
        implied: Rows of settings that VEstim implies.

    """

    file: str
    raw: Mapping[str, Any]
    settings: list[Setting] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    implied: list[Row] = field(default_factory=list)

    def given(self, *keys: str) -> list[str]:
        """Select the keys that have a value in the file."""
        return [key for key in keys if not is_empty(self.raw.get(key))]

    def first(self, *keys: str) -> str:
        """Select the first key that has a value, as VEstim does; the others are left out. Empty if none has."""
        found, *others = self.given(*keys) or [""]
        for key in others:
            self.leave(key, f"{found} takes precedence")
        return found

    def take(self, key: str) -> Choice | None:
        """Read the value of a key; None if the file has none.

        Raises:
            ConfigurationError: If the value is not valid.

        """
        return self.read(key) if self.given(key) else None

    def read(self, key: str) -> Choice:
        """Read the value of a key that the file has; see `take`."""
        try:
            return KEYS[key].kind.read(self.raw[key])
        except ValueError as error:
            self.refuse(key, f"{self.raw[key]!r} {error}")

    def put_first(self, target: str, *keys: str, note: str = "", **options: Any) -> None:
        """Add a setting from the first key that has a value."""
        if key := self.first(*keys):
            self.put(key, target, self.read(key), note, **options)

    def put(self, key: str, target: str, choice: Choice, note: str = "", **options: Any) -> None:
        """Add a setting that a key asks for."""
        self.settings.append(Setting(target, choice, (key,), **options))
        self.outcomes[key] = _with_note(_assignment(target, choice), note)

    def imply(self, target: str, choice: Choice, why: str, **options: Any) -> None:
        """Add a setting that VEstim implies."""
        self.settings.append(Setting(target, choice, **options))
        self.implied.append(Row(IMPLIED, "", _with_note(_assignment(target, choice), why), target))

    def agree(self, key: str, other: str) -> None:
        """Record that a key repeats another key."""
        self.outcomes[key] = f"agrees with {other}"

    def leave(self, key: str, why: str) -> None:
        """Record that a key has no effect here, and why."""
        if key in self.raw:
            self.outcomes[key] = f"left out: {why}"

    def refuse(self, key: str, problem: str) -> NoReturn:
        """Raise a ConfigurationError of one line that names file and key."""
        raise ConfigurationError(f"{self.file}: {key}: {problem}")

    def rows(self) -> list[Row]:
        """Make a row for every key, in the order of the file, and then for what VEstim implies."""
        targets = {key: setting.target for setting in self.settings for key in setting.sources}
        given = [Row(key, shown(value), self.outcomes[key], targets.get(key, "")) for key, value in self.raw.items()]
        return [*given, *self.implied]


def shown(value: Any) -> str:
    """Write a value in one line for a reader.

    Example::

        >>> shown((64, 32)), shown(True), shown("SOC"), shown(1e-05)
        ('[64,32]', 'true', 'SOC', '1e-05')

    """
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(shown, value))}]"
    return " ".join(str(value).split())


def _assignment(target: str, choice: Choice) -> str:
    if choice.range is not None:
        return f"{target}: to search, from {shown(choice.range.low)} to {shown(choice.range.high)}"
    values = ",".join(map(shown, choice.values))
    return f"{target}={values}" + (", a run for each (-m)" if choice.is_grid else "")


def _with_note(text: str, note: str) -> str:
    return f"{text}; {note}" if note else text
