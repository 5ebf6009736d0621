"""Expand ``vestim=FILE`` on a command line into the settings of the file, before Hydra composes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from vestim_pl.app.vestim.conversion import Conversion, convert_file
from vestim_pl.app.vestim.draft import Setting
from vestim_pl.app.vestim.table import render_table
from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.command_line import command_line
from vestim_pl.settings.override import Override, command_text, hydra_value, overridden_key

__all__ = ["Expansion", "expand", "lower_bounds", "overrides"]

_SEVERAL = ("-m", "--multirun", "hydra.mode=MULTIRUN")


@dataclass(frozen=True)
class Expansion:
    """A command line in which the settings of a file replace ``vestim=FILE``.

    Attributes:
        arguments: Arguments of the module.
        table: The result for every key, as a table to print.

    """

    arguments: list[str]
    table: str


def expand(arguments: Sequence[str], module: str) -> Expansion | None:
    """Put the settings of ``vestim=FILE`` into a command line; explicit settings take precedence.

    Args:
        arguments: Arguments of the module.
        module: The module, to suggest a command.

    Returns:
        The expanded command line; None without ``vestim=FILE``.

    Raises:
        ConfigurationError: If the file cannot be converted, asks for a search, or for several runs without ``-m``.

    """
    named = {argument: file for argument in arguments if (file := _file_of(argument)) is not None}
    files = [file for file in named.values() if file not in ("", "null")]
    if not files:
        return None
    if len(files) > 1:
        raise ConfigurationError(f"vestim: {' and '.join(files)}: two files; give one, or convert them to presets")
    others = [argument for argument in arguments if argument not in named]
    explicit = {key: argument for argument in others if (key := overridden_key(argument))}
    conversion = convert_file(files[0])
    replaced = {setting.target: by for setting in conversion.settings if (by := _replaced_by(setting, explicit))}
    settings = [setting for setting in conversion.settings if setting.target not in replaced]
    _refuse_search(conversion, settings)
    _refuse_grid_without_multirun(conversion, settings, arguments, module)
    rows = [
        replace(row, outcome=f"{replaced[row.target]} on the command line takes precedence")
        if row.target in replaced
        else row
        for row in conversion.rows
    ]
    place = arguments.index(next(iter(named)))
    own = [*overrides(settings), Override("vestim", files[0]).argument]
    table = f"settings of VEstim, {files[0]}:\n{render_table(conversion, rows)}"
    return Expansion([*others[:place], *own, *others[place:]], table)


def overrides(settings: Sequence[Setting]) -> list[str]:
    """Write settings as arguments of the command line, a grid with commas between its values.

    Example::

        >>> from vestim_pl.app.vestim.conversion import convert
        >>> overrides(convert({"LOOKBACK": "100,200", "MODEL_TYPE": "GRU"}, "hyperparams.json").settings[:2])
        ['network=gru', 'sampling=windows']

    """
    return [
        f"{'++' if setting.adds else ''}{setting.target}={','.join(map(hydra_value, setting.choice.values))}"
        for setting in settings
    ]


def lower_bounds(settings: Sequence[Setting]) -> list[Override]:
    """Give every setting with bounds of a search its lower bound."""
    return [Override(setting.target, setting.choice.range.low) for setting in settings if setting.choice.range]


def _file_of(argument: str) -> str | None:
    """Read the file of ``vestim=FILE``, which may have any characters, in quotes or not; None for another argument."""
    name, equals, file = argument.partition("=")
    if not equals or name.lstrip("+") != "vestim":
        return None
    return file[1:-1] if len(file) > 1 and file[0] == file[-1] and file[0] in "'\"" else file


def _replaced_by(setting: Setting, explicit: Mapping[str, str]) -> str:
    """Find the explicit override that replaces a setting of the file; empty without one.

    Another choice of a group removes the settings that only the file's choice has. Setting a node as a whole
    (``callbacks.early_stopping=null``) removes what is inside; choosing a group (``network=gru``) does not.
    """
    if setting.group in explicit:
        return explicit[setting.group]
    parents = [key for key in explicit if "." in key and setting.target.startswith(f"{key}.")]
    return next((explicit[key] for key in (setting.target, *parents) if key in explicit), "")


def _refuse_search(conversion: Conversion, settings: Sequence[Setting]) -> None:
    searched = [setting for setting in settings if setting.choice.range]
    if not searched:
        return
    keys = ", ".join(source for setting in searched for source in setting.sources)
    convert = command_line("vestim_pl.vestim", "convert", conversion.file)
    raise ConfigurationError(
        f"{conversion.file}: {keys}: bounds of a search, and there is no search command yet; give a value for each,"
        f" such as the lower bounds: {command_text(lower_bounds(searched))} ({convert} writes the search space)"
    )


def _refuse_grid_without_multirun(
    conversion: Conversion, settings: Sequence[Setting], arguments: Sequence[str], module: str
) -> None:
    grids = [setting for setting in settings if setting.choice.is_grid]
    if not grids or any(argument in _SEVERAL for argument in arguments):
        return
    keys = ", ".join(source for setting in grids for source in setting.sources)
    runs = prod(len(setting.choice.values) for setting in grids)
    raise ConfigurationError(
        f"{conversion.file}: {keys}: several values, {runs} runs; add -m to run each:"
        f" {command_line(module, '-m', *arguments)}"
    )
