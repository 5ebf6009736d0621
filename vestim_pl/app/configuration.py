"""The configuration: the full check against what it configures, and building from it."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig

from vestim_pl.app.conf_tree import choices, conf_folder, flat_keys, nodes_with_target, plain
from vestim_pl.app.early_check import check_before_import, check_node, in_order
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.precision import resolve_precision
from vestim_pl.lightning_support.schedulers import build_scheduler
from vestim_pl.networks import build_network
from vestim_pl.settings.arguments import argument_types, check_arguments
from vestim_pl.settings.names import nearest

__all__ = ["build", "check", "choices", "conf_folder", "flat_keys", "plain"]


def build(node: DictConfig, **objects: Any) -> Any:
    """Build what a node's ``_target_`` names.

    This is the one place that calls Hydra's ``instantiate``. Nodes come from the tree in ``conf/`` and from the user's
    own command line, and `check` has compared them with what they build.

    Args:
        node: Node with a ``_target_``.
        objects: Further arguments, passed unchanged (Hydra itself would turn a dataclass into a dictionary).

    Example::

        >>> from omegaconf import OmegaConf
        >>> node = OmegaConf.create({"_target_": "fractions.Fraction", "denominator": 3})
        >>> build(node, numerator=1)
        Fraction(1, 3)

    """
    return instantiate(node, _convert_="all", _partial_=True)(**objects)


def check(config: DictConfig) -> None:
    """Refuse unknown keys and wrong types, before anything is built.

    The schema is the code: every node with a ``_target_`` is compared with the signature and the type hints of what it
    builds; ``network``, ``optimizer`` and ``scheduler`` are compared with what they name.

    Raises:
        ConfigurationError: With the full name of the key, what was found, and the nearest valid key or the type.

    """
    check_before_import(config)
    for name, value in in_order(config):
        if name == "network":
            build_network(plain(value), features=1)  # knows its own options and their ranges
        elif name == "optimizer":
            _check_optimizer(plain(value))
        elif name == "scheduler":
            _check_scheduler(plain(value), config.optimizer.get("lr"))
        elif isinstance(value, DictConfig):
            for where, node in nodes_with_target(name, value):
                if name == "trainer":  # its precision may be "mixed", which Lightning does not know
                    node["precision"] = resolve_precision(node.get("precision"))
                target = get_object(node["_target_"])
                check_node(where, node, argument_types(target), _takes_any_keyword(target))


def _takes_any_keyword(target: Callable[..., Any]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(target).parameters.values())


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
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"optimizer: {reason}; see the arguments of torch.optim.{name}") from error


def _check_scheduler(spec: dict[str, Any], rate: Any) -> None:
    valid = isinstance(rate, int | float) and rate > 0  # a wrong rate is reported by itself
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate if valid else 1e-3)
    build_scheduler(optimizer, spec, lambda: 1, lambda: 1)
