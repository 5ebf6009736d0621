"""Read the types of a class's or function's arguments from its source, without importing it."""

import ast
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

__all__ = ["SourceSignature", "source_signature"]

_PLAIN: dict[str, Any] = {
    "int": int, "float": float, "bool": bool, "str": str, "None": None, "list": list, "dict": dict,
    "Sequence": Sequence, "Any": Any,
}  # fmt: skip
_NEVER_IN_A_CONFIGURATION = frozenset({"Tensor"})
_KEEP_ARGUMENTS = frozenset({"dataclass", "final", "runtime_checkable", "_defaults_from_env_vars"})  # of decorators


@dataclass(frozen=True)
class SourceSignature:
    """Arguments of a function or constructor.

    Attributes:
        types: Type of every named argument; ``Any`` if the source alone does not show it.
        takes_more: Whether it accepts other keywords (``**kwargs``).

    """

    types: dict[str, Any] = field(default_factory=dict)
    takes_more: bool = False


@cache
def source_signature(target: str) -> SourceSignature | None:
    """Read the arguments of a class or function from its source file.

    Importing torch and Lightning to inspect a signature takes seconds, and a misspelt setting should be refused at
    once. Imports between modules, dataclasses and base classes are followed. Only plain types and their unions are
    read; any other hint becomes ``Any`` and is checked after the import.

    Args:
        target: Dotted name, as in ``_target_``.

    Returns:
        The signature; None if the source cannot be found or does not show the arguments.

    Example::

        >>> source_signature("vestim_pl.callbacks.StepGuard").types["max_skips_per_epoch"]
        <class 'int'>
        >>> source_signature("vestim_pl.callbacks.NoSuchCallback") is None
        True

    """
    found = _find(target)
    return None if found is None else _signature(*found)


def _find(target: str, depth: int = 8) -> tuple[ast.stmt, str] | None:
    """Find the definition of a dotted name, and the module that contains it."""
    located = _locate(target)
    if located is None or not depth:
        return None
    module, package, path, name = located
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    definitions = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
    if definitions:
        return definitions[-1], module
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(f"{_imported_module(node, package)}.{alias.name}", depth - 1)
    return None


def _locate(target: str) -> tuple[str, str, Path, str] | None:
    """Split a dotted name into module, package, file, and the name within the module."""
    top, *parts = target.split(".")
    try:
        spec = importlib.util.find_spec(top)  # a top-level name: nothing is imported
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not parts:
        return None
    file = Path(spec.origin)
    module = package = top
    for part in parts[:-1]:
        folder = file.parent / part
        if file.name == "__init__.py" and (folder / "__init__.py").is_file():
            file, module = folder / "__init__.py", f"{module}.{part}"
            package = module
        elif file.name == "__init__.py" and folder.with_suffix(".py").is_file():
            file, package, module = folder.with_suffix(".py"), module, f"{module}.{part}"
        else:
            return None
    return module, package, file, parts[-1]


def _imported_module(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - node.level + 1])
    return f"{base}.{node.module}" if node.module else base


def _signature(node: ast.stmt, module: str) -> SourceSignature | None:
    if isinstance(node, ast.FunctionDef):
        return _of_function(node, method=False)
    if not isinstance(node, ast.ClassDef) or not _keeps_arguments(node):
        return None
    methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    if "__init__" in methods or "__new__" in methods:
        return _of_function(methods["__init__"], method=True) if "__init__" in methods else None
    inherited = source_signature(f"{module}.{_name_of(node.bases[0])}") if node.bases else None
    if any(_name_of(decorator) == "dataclass" for decorator in node.decorator_list):
        if node.bases and inherited is None:
            return None
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
        own = {each.target.id: _type(each.annotation) for each in fields}  # type: ignore[union-attr]
        return SourceSignature((inherited.types if inherited else {}) | own)
    return inherited


def _keeps_arguments(node: ast.ClassDef | ast.FunctionDef) -> bool:
    """Whether the arguments are as written; an unknown decorator or a metaclass may change them."""
    metaclass = isinstance(node, ast.ClassDef) and bool(node.keywords)
    return not metaclass and all(_name_of(decorator) in _KEEP_ARGUMENTS for decorator in node.decorator_list)


def _of_function(node: ast.FunctionDef, method: bool) -> SourceSignature | None:
    if not _keeps_arguments(node):
        return None
    arguments = [*node.args.posonlyargs, *node.args.args][method:] + node.args.kwonlyargs
    types = {argument.arg: _type(argument.annotation) for argument in arguments}
    return SourceSignature(types, takes_more=node.args.kwarg is not None)


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _name_of(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _type(node: ast.expr | None) -> Any:
    """Convert an annotation to a type; ``Any`` unless it consists of plain types."""
    parts = _members(node)
    if not parts or Any in parts:
        return Any
    union = parts[0]
    for part in parts[1:]:
        union = union | part
    return union


def _members(node: ast.expr | None) -> list[Any]:
    """List the members of a union of plain types, with ``Any`` for an unknown one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _members(ast.parse(node.value, mode="eval").body)
    if isinstance(node, ast.Constant) and node.value is None:
        return [None]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _members(node.left) + _members(node.right)
    if isinstance(node, ast.Subscript):
        return _subscripted(_name_of(node.value), node.slice)
    name = "" if node is None else _name_of(node)
    return [] if name in _NEVER_IN_A_CONFIGURATION else [_PLAIN.get(name, Any)]


def _subscripted(name: str, inner: ast.expr) -> list[Any]:
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Union":
        return [member for item in items for member in _members(item)]
    if name == "Optional":
        return [*_members(inner), None]
    if name == "Literal" and all(isinstance(item, ast.Constant) for item in items):
        return [Literal[tuple(item.value for item in items)]]  # type: ignore[attr-defined]
    if name in ("Sequence", "list", "List") and (entry := _type(inner)) is not Any:
        return [Sequence[entry] if name == "Sequence" else list[entry]]  # type: ignore[valid-type]
    return [Any]
