"""Features that are computed from others by a formula."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.data.preparation.table import QUANTITIES, Note, StandardTable
from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.settings.names import nearest

__all__ = ["FUNCTIONS", "check_formulas", "names_in", "with_derived"]

Column = pd.Series


def _low_pass(values: Column, seconds: float, interval: float) -> Column:
    return values.ewm(alpha=-np.expm1(-interval / seconds), adjust=False).mean()


def _rolling_mean(values: Column, seconds: float, interval: float) -> Column:
    return values.rolling(max(1, round(seconds / interval)), min_periods=1).mean()


# All are causal: a row's value depends on it and earlier rows alone, as a deployed estimator needs it.
_OF_TIME: dict[str, Callable[[Column, float, float], Column]] = {"low_pass": _low_pass, "rolling_mean": _rolling_mean}
_OF_ROWS: dict[str, Callable[..., Any]] = {
    "abs": np.abs, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "minimum": np.minimum,
    "maximum": np.maximum,
}  # fmt: skip
FUNCTIONS = (*_OF_TIME, *_OF_ROWS)
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: np.power,
}  # fmt: skip
_EXAMPLE = "for example 'low_pass(current, 60)' or 'abs(current) * temperature'"


def check_formulas(formulas: Mapping[str, str]) -> None:
    """Refuse formulas with anything but numbers, columns, operators and the listed functions.

    Raises:
        ConfigurationError: With the setting and what is not allowed in it.

    Example::

        >>> check_formulas({"Slow": "low_pass(current, 60)"})
        >>> check_formulas({"X": "open('file')"})
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: data.derived.X: 'open' is no function; choose ...

    """
    for name, formula in formulas.items():
        if name in QUANTITIES:
            raise ConfigurationError(f"data.derived.{name}: {name!r} is a quantity; choose another name")
        _check(name, _parsed(name, formula))


def names_in(formulas: Mapping[str, str]) -> set[str]:
    """Return the columns that formulas need.

    Example::

        >>> sorted(names_in({"P": "current * voltage", "Slow": "low_pass(P, 30)"}))
        ['current', 'voltage']

    """
    found: set[str] = set()
    for name, formula in formulas.items():
        tree = list(ast.walk(_parsed(name, formula)))
        called = {node.func for node in tree if isinstance(node, ast.Call)}
        found |= {n.id for n in tree if isinstance(n, ast.Name) and n not in called}
    return found - set(formulas)


def with_derived(
    table: StandardTable, formulas: Mapping[str, str], interval: float | None, label: str = ""
) -> tuple[StandardTable, list[Note]]:
    """Add columns that are computed by formulas, each piece on its own.

    Args:
        table: The table.
        formulas: Formula by the name of the new column, in order; a later one may use an earlier one. Names are
            ``time``, ``current``, ``voltage``, ``temperature``, ``soc`` and other columns of the file.
        interval: Seconds between rows, for ``low_pass(x, seconds)`` and ``rolling_mean(x, seconds)``.
        label: Name of the file in messages.

    Raises:
        DataError: If a column is missing, or a value is not finite.

    Example::

        >>> table = StandardTable.of(pd.DataFrame({"time": [0.0, 1.0], "current": [1.0, -2.0], "voltage": [4.0, 3.0]}))
        >>> with_derived(table, {"Power": "current * voltage"}, 1.0)[0]["Power"].tolist()
        [4.0, -6.0]

    """
    if not formulas:
        return table, []
    pieces = []
    for piece in table.pieces():
        frame = piece.copy()
        for name, formula in formulas.items():
            with np.errstate(all="ignore"):
                value = _value(_parsed(name, formula), frame, interval or 1.0, f"{label}: data.derived.{name}")
            frame[name] = np.broadcast_to(np.asarray(value, dtype=np.float64), len(frame))
            if not np.isfinite(frame[name].to_numpy()).all():
                raise DataError(
                    f"{label}: data.derived.{name}: {formula!r} is not finite everywhere; change the formula, or leave "
                    "the file out with data.on_bad_file=skip"
                )
        pieces.append(frame)
    whole = pd.concat(pieces)
    return table.with_columns(**{name: whole[name].to_numpy() for name in formulas}), []


def _parsed(name: str, formula: str) -> ast.expr:
    try:
        return ast.parse(formula, mode="eval").body
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise ConfigurationError(f"data.derived.{name}: {formula!r} is no formula; write {_EXAMPLE}") from None


def _check(name: str, node: ast.expr) -> None:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        _check(name, node.left)
        _check(name, node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        _check(name, node.operand)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        _check_call(name, node.func.id, node)
    elif not (isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and type(node.value) in (int, float))):
        raise ConfigurationError(
            f"data.derived.{name}: {ast.unparse(node)!r} is not allowed in a formula; write {_EXAMPLE}"
        )


def _check_call(name: str, function: str, node: ast.Call) -> None:
    if function not in FUNCTIONS:
        raise ConfigurationError(
            f"data.derived.{name}: {function!r} is no function; choose {', '.join(FUNCTIONS)}; "
            f"{nearest(function, FUNCTIONS)}"
        )
    wanted = 2 if function in (*_OF_TIME, "minimum", "maximum") else 1
    if len(node.args) != wanted or node.keywords:
        raise ConfigurationError(
            f"data.derived.{name}: {ast.unparse(node)!r} has {len(node.args)} values, {function} takes {wanted}; "
            f"write {_EXAMPLE}"
        )
    if function in _OF_TIME and not (isinstance(node.args[1], ast.Constant) and _is_positive(node.args[1].value)):
        raise ConfigurationError(
            f"data.derived.{name}: {ast.unparse(node)!r} needs a positive number of seconds; write {_EXAMPLE}"
        )
    for argument in node.args:
        _check(name, argument)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _value(node: ast.expr, frame: pd.DataFrame, interval: float, where: str) -> Any:
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        if node.id not in frame:
            known = ", ".join(map(str, frame.columns))
            raise DataError(f"{where}: there is no column {node.id!r}, only {known}; {nearest(node.id, frame.columns)}")
        return frame[node.id].astype(np.float64)
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, frame, interval, where)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = (_value(side, frame, interval, where) for side in (node.left, node.right))
        return _OPERATORS[type(node.op)](left, right)
    assert isinstance(node, ast.Call)  # noqa: S101 - `check_formulas` has let nothing else through
    assert isinstance(node.func, ast.Name)  # noqa: S101
    values = [_value(argument, frame, interval, where) for argument in node.args]
    if node.func.id in _OF_TIME:
        column = values[0] if isinstance(values[0], pd.Series) else pd.Series(values[0], index=frame.index)
        return _OF_TIME[node.func.id](column, values[1], interval)
    return _OF_ROWS[node.func.id](*values)
