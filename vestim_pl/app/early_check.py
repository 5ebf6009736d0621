"""The first check of a configuration: from the source alone, before torch and Lightning are imported."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vestim_pl.app.conf_tree import flat_keys, nodes_with_target, plain, suggest_key
from vestim_pl.app.trainer_arguments import check_trainer_arguments
from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.arguments import check_arguments, check_type
from vestim_pl.settings.source_types import SourceSignature, source_signature

__all__ = [
    "NETWORK_SOURCES",
    "check_before_import",
    "check_node",
    "check_targets",
    "in_order",
    "refuse_missing_checkpoint",
]

_GROUPS = (
    "callbacks", "columns", "data", "hydra", "logger", "network", "optimizer", "sampling", "scheduler", "trainer",
)  # fmt: skip
_SETTINGS = {
    "seed": int, "compile": bool, "test": bool, "run_dir": str, "ckpt_path": str | list[str] | None,
    "checkpoint_every": str | None, "vestim": str | None, "run": str | None, "checks": str, "fail_on": str,
    "json": str | None, "path": str | None, "checkpoint": str, "input": str, "output": str, "format": str | None,
    "existing": str, "evaluation": str | None, "device": str, "coverage": float | None,
    "name": str, "quantize": str | None,
}  # fmt: skip
_INTERNAL = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")
# Classes that a network's name builds. The registry imports torch; a test compares the two.
_RECURRENT = "vestim_pl.networks.RecurrentNetwork"
NETWORK_SOURCES = {
    "LSTM": (_RECURRENT,),
    "GRU": (_RECURRENT,),
    "LSTM_EMA": (_RECURRENT, "vestim_pl.networks.ExponentialSmoothing"),
    "LSTM_LPF": (_RECURRENT, "vestim_pl.networks.CausalLowPass"),
    "FNN": ("vestim_pl.networks.FeedForwardNetwork",),
    "Transformer": ("vestim_pl.networks.TransformerNetwork",),
}
_NO_OPTIONS = ("features", "output_filter", "cell")  # set by the registry


def check_before_import(config: DictConfig) -> None:
    """Refuse unknown keys and wrong types, as far as the source of what they configure shows them.

    Importing torch and Lightning takes seconds, and a mistake should be reported at once. Messages are those of the
    full check, `vestim_pl.app.configuration.check`. Nothing is refused here that the full check accepts; it also checks
    what the source does not show, such as a range.

    Raises:
        ConfigurationError: With the full name of the key, what was found, and the nearest valid key or the type.

    """
    _check_root(config)
    if "network" in config and not isinstance(config.get("ckpt_path"), str | None):
        raise ConfigurationError(f"ckpt_path: {config.ckpt_path} is a list; a training resumes from one checkpoint")
    refuse_missing_checkpoint(config.get("ckpt_path"))
    refuse_missing_checkpoint(config.get("checkpoint"), "checkpoint")
    for name, value in in_order(config):
        if name == "network":
            _check_network(plain(value))
        elif name == "optimizer":
            spec = plain(value)
            _check_options(name, spec, source_signature(f"torch.optim.{spec.pop('name', None)}"), ("params",))
        elif name == "scheduler":
            spec = plain(value)
            builder = f"vestim_pl.lightning_support.schedulers._{spec.pop('name', 'none')}"
            _check_options(name, spec, source_signature(builder), ("optimizer", "steps"))
        elif isinstance(value, DictConfig):
            if name == "callbacks":
                _refuse_settings_without_callback(value)
            check_targets(name, value)
            if name == "trainer":
                check_trainer_arguments(plain(value), plain(config.get("callbacks") or OmegaConf.create({})))


def check_targets(name: str, group: DictConfig) -> None:
    """Compare every node with a ``_target_`` at or below a group with the source of what it builds.

    Raises:
        ConfigurationError: With the key.

    """
    for where, node in nodes_with_target(name, group):
        if (signature := source_signature(str(node["_target_"]))) is not None:
            check_node(where, node, signature.types, signature.takes_more)


def refuse_missing_checkpoint(ckpt_path: str | Sequence[str] | None, setting: str = "ckpt_path") -> None:
    """Refuse a path that names no file; ``last`` and ``auto`` stand for a file that is found later.

    Args:
        ckpt_path: The path, or several.
        setting: Its setting, for the message.

    Raises:
        ConfigurationError: With the path.

    """
    paths = [ckpt_path] if ckpt_path is None or isinstance(ckpt_path, str) else list(ckpt_path)
    for path in paths:
        if path not in (None, "last", "auto") and not Path(str(path)).is_file():
            raise ConfigurationError(f"{setting}: {path} is not a file; give a checkpoint of an earlier run")


def in_order(config: DictConfig) -> Iterator[tuple[str, Any]]:
    """Yield name and value of every group and setting, ``data`` and ``sampling`` first.

    Other groups refer to their values, and a mistake is reported where it was set.
    """
    for name in sorted(map(str, config), key=lambda each: each not in ("data", "sampling")):
        if name != "hydra":
            yield name, None if OmegaConf.is_missing(config, name) else config[name]


def check_node(where: str, node: dict[str, Any], types: dict[str, Any], takes_more: bool) -> None:
    """Compare a node with the arguments of what it builds; a node inside it is compared with what that node builds.

    Args:
        where: Dotted name of the node, for messages.
        node: The node, resolved.
        types: Type of every named argument.
        takes_more: Whether any other keyword is an argument too.

    Raises:
        ConfigurationError: With the key.

    """
    own = {
        key: value
        for key, value in node.items()
        if key not in _INTERNAL and not (isinstance(value, dict) and "_target_" in value)
    }
    check_arguments(where, own, dict.fromkeys(own, Any) | types if takes_more else types)


def _check_root(config: DictConfig) -> None:
    """Refuse unknown names at the top level, which ``+name=...`` adds, and wrong types of the known ones."""
    for name in map(str, config):
        if name not in _SETTINGS and name not in _GROUPS:
            known = [key for key in flat_keys(config) if key.partition(".")[0] in (*_SETTINGS, *_GROUPS)]
            raise ConfigurationError(f"{name}: no such key; {suggest_key(name, ['+preset', *known])}")
        if name in _SETTINGS and not OmegaConf.is_missing(config, name):
            check_type(name, config[name], _SETTINGS[name])


def _check_network(spec: dict[str, Any]) -> None:
    name = spec.pop("name", None)
    if name not in NETWORK_SOURCES:
        return
    own = _network_options(name)
    if any(key not in own and key in _network_options(other) for key in spec for other in NETWORK_SOURCES):
        return  # an option of another network, which the registry explains
    check_arguments("network", spec, own)


def _network_options(name: str) -> dict[str, Any]:
    found = [signature for target in NETWORK_SOURCES[name] if (signature := source_signature(target)) is not None]
    types = {key: hint for signature in found for key, hint in signature.types.items() if key not in _NO_OPTIONS}
    return types | {"members": int}


def _check_options(
    where: str, spec: dict[str, Any], signature: SourceSignature | None, without: tuple[str, ...]
) -> None:
    if signature is not None:
        check_arguments(where, spec, {key: hint for key, hint in signature.types.items() if key not in without})


def _refuse_settings_without_callback(callbacks: DictConfig) -> None:
    """Refuse a preset's settings of a callback that ``callbacks=[...]`` on the command line removed."""
    for name in map(str, callbacks):
        node = callbacks[name]
        if node is not None and not isinstance(node, DictConfig):
            raise ConfigurationError(f"callbacks.{name}: {node!r} is no callback; null removes it")
        if node is not None and "_target_" not in node:
            raise ConfigurationError(
                f"callbacks.{name}: has settings, but the callback is not there; add {name} to callbacks=[...], or"
                f" remove the settings with callbacks.{name}=null"
            )
