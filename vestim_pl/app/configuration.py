"""The configuration: where it lies, and what it may say."""

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.precision import resolve_precision
from vestim_pl.lightning_support.schedulers import build_scheduler
from vestim_pl.networks import build_network
from vestim_pl.settings.arguments import argument_types, check_arguments, check_type, nearest

__all__ = ["build", "check", "choices", "conf_folder", "flat_keys", "plain", "way_out"]

_GROUPS = (
    "callbacks", "columns", "data", "hydra", "logger", "network", "optimizer", "sampling", "scheduler", "trainer",
)  # fmt: skip
_SETTINGS = {
    "seed": int, "compile": bool, "test": bool, "run_dir": str, "ckpt_path": str | None,
    "checkpoint_every": str | None, "vestim": str | None, "run": str | None, "checks": str, "fail_on": str,
    "json": str | None, "path": str | None,
}  # fmt: skip
_INTERNAL = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")


def conf_folder() -> Path:
    """Folder of the configuration tree: inside the package where it was installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def build(node: DictConfig, **objects: Any) -> Any:
    """Build what a node's ``_target_`` names.

    The one place that calls Hydra's ``instantiate``: nodes come from the tree in ``conf/`` and the command line of
    whoever runs the command, and what they may say is known from `check`.

    Args:
        node: Node with a ``_target_``.
        objects: Further arguments, passed on as they are (Hydra itself would turn a dataclass into a dictionary).

    Example::

        >>> node = OmegaConf.create({"_target_": "fractions.Fraction", "denominator": 3})
        >>> build(node, numerator=1)
        Fraction(1, 3)

    """
    return instantiate(node, _convert_="all", _partial_=True)(**objects)


def check(config: DictConfig) -> None:
    """Refuse unknown keys and wrong types, before anything is built.

    The schema is the code: every node with a ``_target_`` is held against the signature and the type hints of what it
    builds, ``network``, ``optimizer`` and ``scheduler`` against what they name.

    Args:
        config: The composed configuration.

    Raises:
        ConfigurationError: With the full name of the key, what was found, and the nearest valid key or the type.

    """
    _check_root(config)
    told_first = ("data", "sampling")  # others use their values: a mistake is told where it was set
    for name, value in sorted(config.items(), key=lambda item: item[0] not in told_first):
        if name == "network":
            build_network(plain(value), features=1)  # knows its own options and their ranges
        elif name == "optimizer":
            _check_optimizer(plain(value))
        elif name == "scheduler":
            _check_scheduler(plain(value), config.optimizer.get("lr"))
        elif name != "hydra" and isinstance(value, DictConfig):
            if name == "callbacks":
                _refuse_settings_of_nothing(value)
            for where, node in _nodes_with_target(str(name), value):
                if name == "trainer":  # knows one precision more than Lightning's
                    node["precision"] = resolve_precision(node.get("precision"))
                _check_node(where, get_object(node["_target_"]), node)


def choices(group: str) -> list[str]:
    """Names of the files in a group of the tree: what ``group=...`` may say."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def flat_keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every key of a configuration in dotted form."""
    for key in map(str, config):
        name = f"{prefix}{key}"
        yield name
        value = None if OmegaConf.is_missing(config, key) else config._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_interpolation():
            yield from flat_keys(value, f"{name}.")


def _check_root(config: DictConfig) -> None:
    """Refuse what ``+name=...`` added at the top, where nothing reads it, and wrong types of what is read there."""
    for name in map(str, config):
        if name not in _SETTINGS and name not in _GROUPS:
            known = [key for key in flat_keys(config) if key.partition(".")[0] in (*_SETTINGS, *_GROUPS)]
            raise ConfigurationError(f"{name}: no such key; {way_out(name, ['+preset', *known])}")
        if name in _SETTINGS and not OmegaConf.is_missing(config, name):
            check_type(name, config[name], _SETTINGS[name])


def way_out(key: str, valid_keys: Collection[str]) -> str:
    """The keys one level down that have this name, else the nearest key.

    Example::

        >>> way_out("lookback", ["sampling.lookback", "sampling.stride"])
        'did you mean sampling.lookback?'

    """
    namesakes = sorted(valid for valid in valid_keys if valid.count(".") == 1 and valid.endswith(f".{key}"))
    return f"did you mean {' or '.join(namesakes)}?" if namesakes else nearest(key, valid_keys)


def _refuse_settings_of_nothing(callbacks: DictConfig) -> None:
    """A preset may set a callback that ``callbacks=[...]`` on the command line has taken out again."""
    for name in map(str, callbacks):
        node = callbacks[name]
        if node is not None and not isinstance(node, DictConfig):
            raise ConfigurationError(f"callbacks.{name}: {node!r} is no callback; null takes it out")
        if node is not None and "_target_" not in node:
            raise ConfigurationError(
                f"callbacks.{name}: has settings, but the callback is not there; add {name} to callbacks=[...], or take"
                f" the settings out with callbacks.{name}=null"
            )


def _nodes_with_target(where: str, node: DictConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node below ``node`` that says ``_target_``, resolved, with its dotted name."""
    if "_target_" in node:
        yield where, plain(node)
    for key in map(str, node):
        child = node[key]
        if isinstance(child, DictConfig):
            yield from _nodes_with_target(f"{where}.{key}", child)


def _check_optimizer(spec: dict[str, Any]) -> None:
    optimizers: dict[str, Callable[..., Any]] = {
        name: kind for name, kind in vars(torch.optim).items() if inspect.isclass(kind)
    }
    name = str(spec.pop("name", None))
    if name not in optimizers:
        raise ConfigurationError(f"optimizer.name: {name!r} is not in torch.optim; {nearest(name, optimizers)}")
    types = {key: hint for key, hint in argument_types(optimizers[name]).items() if key != "params"}
    check_arguments("optimizer", spec, types)
    rate = spec.get("lr", 1e-3)
    if not 0 < rate < math.inf:
        raise ConfigurationError(f"optimizer.lr: {rate} is not positive; choose for example 1e-3")
    try:
        optimizers[name]([torch.nn.Parameter(torch.zeros(1, 1))], **spec)
    except (TypeError, ValueError, RuntimeError) as error:
        told = str(error).splitlines()[0]
        raise ConfigurationError(f"optimizer: {told}; see the arguments of torch.optim.{name}") from error


def _check_scheduler(spec: dict[str, Any], rate: Any) -> None:
    rate = (
        rate if isinstance(rate, int | float) and rate > 0 else 1e-3
    )  # what is wrong with the rate is reported on its own
    build_scheduler(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate), spec, lambda: 1, lambda: 1)


def plain(node: DictConfig) -> dict[str, Any]:
    """A node as a dictionary, lists and numbers, its references to other nodes resolved."""
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
