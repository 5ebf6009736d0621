"""An unfinished conversion: every key of the file gets one row, and the settings that it asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from vestim_pl.app.vestim.keys import KEYS
from vestim_pl.app.vestim.values import Choice, Range, is_empty
from vestim_pl.errors import ConfigurationError

__all__ = ["Draft", "Row", "Setting", "shown"]

IMPLIED = "(not in the file)"


@dataclass(frozen=True)
class Setting:
    """One setting of this package that a file asks for.

    Attributes:
        target: Name of the setting, or of the group of settings.
        choice: Its value, the values of a grid, or the bounds of a search.
        sources: Keys of the file that ask for it; empty where the file implies it.
        chooses: Whether the value is the name of a file in a group of ``conf/``.
        group: Group that must be as the file chooses it for the setting to exist; empty where any choice has it.
        adds: Whether ``conf/`` does not name the setting, so that it has to be added.

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
        value: Its value, as the file has it.
        outcome: The result, in words.
        target: The setting that it asks for, if any.

    """

    key: str
    value: str
    outcome: str
    target: str = ""


@dataclass
class Draft:
    """State of a conversion, which its rules read and write.

    Attributes:
        file: Name of the file, for messages.
        raw: Keys and values of the file.
        settings: Settings so far.
        outcomes: Result for each key so far.
        implied: Rows of settings that no key asks for.

    """

    file: str
    raw: Mapping[str, Any]
    settings: list[Setting] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    implied: list[Row] = field(default_factory=list)

    def given(self, *keys: str) -> list[str]:
        """Select the keys that have a value in the file."""
        return [key for key in keys if not is_empty(self.raw.get(key))]

    def take(self, key: str) -> Choice | None:
        """Read what a key asks for; None where the file has no value for it.

        Raises:
            ConfigurationError: If the value makes no sense.

        """
        if not self.given(key):
            return None
        try:
            return KEYS[key].kind.read(self.raw[key])
        except ValueError as error:
            self.refuse(key, f"{self.raw[key]!r} {error}")

    def put(self, key: str, target: str, choice: Choice, note: str = "", **options: Any) -> None:
        """Add a setting that a key asks for."""
        self.settings.append(Setting(target, choice, (key,), **options))
        self.outcomes[key] = _sentence(_assignment(target, choice), note)

    def imply(self, target: str, choice: Choice, why: str, **options: Any) -> None:
        """Add a setting that VEstim implies."""
        self.settings.append(Setting(target, choice, **options))
        self.implied.append(Row(IMPLIED, "", _sentence(_assignment(target, choice), why), target))

    def agree(self, key: str, other: str) -> None:
        """Record that a key repeats another one."""
        self.outcomes[key] = f"agrees with {other}"

    def leave(self, key: str, why: str) -> None:
        """Record that a key of the file has no effect here, and why."""
        if key in self.raw:
            self.outcomes[key] = f"left out: {why}"

    def refuse(self, key: str, problem: str) -> NoReturn:
        """Refuse the file, in one line.

        Raises:
            ConfigurationError: Always.

        """
        raise ConfigurationError(f"{self.file}: {key}: {problem}")

    def rows(self) -> list[Row]:
        """Make a row for every key, in the order of the file, then for what the file implies."""
        targets = {key: setting.target for setting in self.settings for key in setting.sources}
        given = [Row(key, shown(value), self.outcomes[key], targets.get(key, "")) for key, value in self.raw.items()]
        return [*given, *self.implied]


def shown(value: Any) -> str:
    """Write a value in one line, as in YAML and on the command line.

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
        return f"{target}: to search, {_span(choice.range)}"
    values = ",".join(map(shown, choice.values))
    return f"{target}={values}" + (", a run for each (-m)" if choice.is_grid else "")


def _span(bounds: Range) -> str:
    return f"from {shown(bounds.low)} to {shown(bounds.high)}"


def _sentence(said: str, note: str) -> str:
    return f"{said}; {note}" if note else said
