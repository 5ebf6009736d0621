"""Read VEstim's ``hyperparams.json``: JSON that may have comments."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vestim_pl.errors import ConfigurationError

__all__ = ["hyperparams_of", "read_hyperparams", "without_comments"]

_STRING = r'"(?:\\.|[^"\\\n])*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\n]*")
_TRAILING_COMMA = re.compile(rf"({_STRING})|,(?=\s*[}}\]])")


def without_comments(text: str) -> str:
    """Replace ``//`` comments, and commas before a closing bracket, by spaces, so that the rest is JSON.

    All other characters keep line and column, for error messages. Strings stay as they are.

    Example::

        >>> json.loads(without_comments('{"A": "x//y", // a comment, with "quotes"' + chr(10) + '}'))
        {'A': 'x//y'}

    """
    for pattern in (_COMMENT, _TRAILING_COMMA):
        text = pattern.sub(lambda found: found[1] or " " * len(found[0]), text)
    return text


def read_hyperparams(path: str | Path) -> dict[str, Any]:
    """Read keys and values of a ``hyperparams.json``, in the order of the file.

    Args:
        path: File in UTF-8, with or without a byte order mark, ``//`` comments and a trailing comma allowed.

    Returns:
        Every key with its value: text, number, truth value, None or a list.

    Raises:
        ConfigurationError: In one line naming the file, and the line where there is one, if the file cannot be read,
            is not JSON, names a key twice, or holds a value that VEstim does not have.

    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not text in UTF-8; save it again as UTF-8") from None
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise ConfigurationError(f"{path}: {reason}; give the path of VEstim's hyperparams.json") from None
    try:
        values = json.loads(without_comments(text), object_pairs_hook=_once_each(path), parse_constant=_refuse(path))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigurationError(
            f'{path}: {where}: {error.msg[0].lower()}{error.msg[1:]}; write "KEY": "value", one pair a line, with a'
            " comma after each"
        ) from None
    except RecursionError:
        raise ConfigurationError(
            f'{path}: brackets are nested too deeply; write "KEY": "value", one pair a line'
        ) from None
    if not isinstance(values, dict):
        raise ConfigurationError(f'{path}: does not hold an object; write {{"KEY": "value", ...}}')
    for key, value in values.items():
        if isinstance(value, Mapping):
            raise ConfigurationError(f"{path}: {key}: is an object; write text, a number, true, false or a list")
    return values


def hyperparams_of(config: DictConfig) -> dict[str, Any] | None:
    """Read file and values of ``vestim=FILE`` for the provenance; None without a file.

    Raises:
        ConfigurationError: Outside of the command line, which alone turns the file into settings.

    """
    if not config.get("vestim"):
        return None
    if not HydraConfig.initialized():
        raise ConfigurationError(
            f"vestim: {config.vestim} is read by the command line alone; in Python, add"
            " vestim_pl.app.vestim.overrides(convert_file(...).settings) to the overrides"
        )
    return {"file": str(config.vestim), "values": read_hyperparams(str(config.vestim))}


def _once_each(path: Path) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in found:
            if key in values and not key.startswith("_"):  # the last of several comments is kept
                raise ConfigurationError(
                    f"{path}: {key}: is given twice, with {values[key]!r} and {value!r}; remove one"
                )
            values[key] = value
        return values

    return pairs


def _refuse(path: Path) -> Any:
    def refuse(name: str) -> None:
        raise ConfigurationError(f"{path}: {name} is not a number that can be used; write a finite number")

    return refuse
