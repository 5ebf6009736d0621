"""The configuration: where it lies, what it may say, and how a mistake in it is told."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from vestim_pl.functional.arguments import argument_types, check_arguments, nearest
from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.functional.precision import resolve_precision
from vestim_pl.networks import build_network

__all__ = ["check", "conf_folder", "explain", "flat_keys"]

_INTERNAL = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")


def conf_folder() -> Path:
    """Folder of the configuration tree: inside the package where it was installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def check(config: DictConfig) -> None:
    """Refuse unknown keys and wrong types, before anything is built.

    The schema is the code: every node with a ``_target_`` is held against the signature and the type hints of what it
    builds, ``network`` and ``optimizer`` against the classes that they name.

    Args:
        config: The composed configuration.

    Raises:
        ConfigurationError: With the full name of the key, what was found, and the nearest valid key or the type.

    """
    told_first = ("data", "sampling")  # others use their values: a mistake is told where it was set
    for name, value in sorted(config.items(), key=lambda item: item[0] not in told_first):
        if name == "network":
            build_network(_plain(value), features=1)  # knows its own options and their ranges
        elif name == "optimizer":
            _check_optimizer(_plain(value))
        elif name != "hydra" and isinstance(value, DictConfig):
            for where, node in _nodes_with_target(str(name), value):
                if name == "trainer":  # knows one precision more than Lightning's
                    node["precision"] = resolve_precision(node.get("precision"))
                _check_node(where, get_object(node["_target_"]), node)


def explain(error: HydraException, valid_keys: Collection[str]) -> str:
    """One line for a mistake that Hydra found in the command line.

    Args:
        error: What Hydra raised.
        valid_keys: Every key of the configuration without overrides.

    """
    text = str(error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    if isinstance(error, MissingConfigException) and error.options:
        wanted = (error.missing_cfg_file or "").removesuffix(".yaml")
        group, _, option = wanted.rpartition("/")
        return f"{group}={option}: no such choice; {nearest(option, error.options)}"
    cause = error.__cause__
    if isinstance(error, ConfigCompositionException) and cause is not None:
        key = getattr(cause, "full_key", None)
        if key and "not in struct" in str(cause):
            namesakes = sorted(valid for valid in valid_keys if valid.count(".") == 1 and valid.endswith(f".{key}"))
            way_out = f"did you mean {' or '.join(namesakes)}?" if namesakes else nearest(str(key), valid_keys)
            return f"{key}: no such key; {way_out}"
        return f"{first} {str(cause).splitlines()[0]}"
    return first


def flat_keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every key of a configuration in dotted form."""
    for key in map(str, config):
        name = f"{prefix}{key}"
        yield name
        value = None if OmegaConf.is_missing(config, key) else config._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_interpolation():
            yield from flat_keys(value, f"{name}.")


def _nodes_with_target(where: str, node: DictConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node below ``node`` that says ``_target_``, resolved, with its dotted name."""
    if "_target_" in node:
        yield where, _plain(node)
    for key in map(str, node):
        child = node[key]
        if isinstance(child, DictConfig):
            yield from _nodes_with_target(f"{where}.{key}", child)


def _check_optimizer(spec: dict[str, Any]) -> None:
    optimizers = {name: kind for name, kind in vars(torch.optim).items() if inspect.isclass(kind)}
    name = str(spec.pop("name", None))
    if name not in optimizers:
        raise ConfigurationError(f"optimizer.name: {name!r} is not in torch.optim; {nearest(name, optimizers)}")
    types = {key: hint for key, hint in argument_types(optimizers[name]).items() if key != "params"}
    check_arguments("optimizer", spec, types)


def _plain(node: DictConfig) -> dict[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(node, resolve=True))


def _check_node(where: str, target: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Hold a node against what it builds; nodes inside it are held against what they build themselves."""
    own = {
        key: value
        for key, value in values.items()
        if key not in _INTERNAL and not (isinstance(value, Mapping) and "_target_" in value)
    }
    types = argument_types(target)
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(target).parameters.values()):
        types = dict.fromkeys(own, Any) | types
    check_arguments(where, own, types)
