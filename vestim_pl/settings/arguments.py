"""Compare values of a configuration with the signature and the type hints of what they configure."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.names import nearest

__all__ = ["argument_types", "check_arguments", "check_type"]


def argument_types(target: Callable[..., Any]) -> dict[str, Any]:
    """Read the type hint of every named argument of a function or constructor; ``Any`` where there is none.

    Example::

        >>> def smooth(taps: int, causal: bool = True) -> None: ...
        >>> argument_types(smooth)
        {'taps': <class 'int'>, 'causal': <class 'bool'>}

    """
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(inspect.unwrap(function))
    except (NameError, TypeError):  # hints that only a type checker resolves
        hints = {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(target).parameters.values()
    return {parameter.name: hints.get(parameter.name, Any) for parameter in parameters if parameter.kind in named}


def check_arguments(where: str, values: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Refuse a value with an unknown name or a wrong type.

    Args:
        where: Name of the configuration node, for the message.
        values: The node's values.
        types: Type of every valid name.

    Raises:
        ConfigurationError: With the key, what was found and the nearest valid key or the type.

    Example::

        >>> check_arguments("sampling", {"lokback": 3}, {"lookback": int, "stride": int})
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: sampling.lokback: no such key; did you mean lookback?

    """
    for key, value in values.items():
        if key not in types:
            raise ConfigurationError(f"{where}.{key}: no such key; {nearest(key, types)}")
        check_type(f"{where}.{key}", value, types[key])


def check_type(where: str, value: Any, hint: Any) -> None:
    """Refuse a value that is not of the annotated type; nothing is converted: ``"0.2"`` is not a number.

    A list may stand for a tuple, which YAML does not have. A hint that cannot be checked is left to the callee.

    Raises:
        ConfigurationError: With the key, the value and the type.

    """
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception:
        return
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):  # also OmegaConf's lists
        wants_tuple = hint is tuple or typing.get_origin(hint) is tuple
        value = tuple(value) if wants_tuple else list(value)
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        wants_list = first["type"] in ("is_instance_of", "list_type", "tuple_type") and "equence" in first["msg"]
        problem = f"write a list, [{value}]" if wants_list else first["msg"]
        if first["type"] == "string_type" and isinstance(value, int | float):
            problem += f"; write '{where}=\"{str(value).lower()}\"' for a text"
        raise ConfigurationError(f"{where}: {value!r} does not fit: {problem[0].lower()}{problem[1:]}") from None
