"""The configuration tree: its folder, keys and choices. Imports no torch."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from vestim_pl.settings.names import nearest, nearest_name

__all__ = ["choices", "conf_folder", "flat_keys", "nodes_with_target", "plain", "suggest_key"]


def conf_folder() -> Path:
    """Folder of the configuration tree: inside an installed package, beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def choices(group: str) -> list[str]:
    """Names of the files in a group of the tree: the values that ``group=...`` takes."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def flat_keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield every key of a configuration in dotted form."""
    for key in map(str, config):
        name = f"{prefix}{key}"
        yield name
        value = None if OmegaConf.is_missing(config, key) else config._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_interpolation():
            yield from flat_keys(value, f"{name}.")


def nodes_with_target(where: str, node: DictConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dotted name and the resolved content of every node at or below ``node`` that has a ``_target_``."""
    if "_target_" in node:
        yield where, plain(node)
    for key in map(str, node):
        child = node[key]
        if isinstance(child, DictConfig):
            yield from nodes_with_target(f"{where}.{key}", child)


def plain(node: DictConfig) -> dict[str, Any]:
    """Convert a node to a dictionary of lists and numbers, with its references to other nodes resolved."""
    return cast("dict[str, Any]", OmegaConf.to_container(node, resolve=True))


def suggest_key(key: str, valid_keys: Collection[str]) -> str:
    """Suggest the keys one level down that have this name, else the nearest key.

    Example::

        >>> suggest_key("lookback", ["sampling.lookback", "sampling.stride"])
        'did you mean sampling.lookback?'

    """
    namesakes = sorted(valid for valid in valid_keys if valid.count(".") == 1 and valid.endswith(f".{key}"))
    if namesakes:
        return f"did you mean {' or '.join(namesakes)}?"
    if nearest_name(key, valid_keys) is None and "." not in key:
        valid_keys = [valid for valid in valid_keys if "." not in valid]  # hundreds of keys are no help
    return nearest(key, valid_keys)
