"""Callbacks in a configuration, found by what they build: a name in the tree is only a name."""

from collections.abc import Mapping
from typing import Any

__all__ = ["name_of", "node_of"]


def name_of(callbacks: Mapping[str, Any], kind: str) -> str:
    """Key of the first callback of that class; empty where there is none, or it is switched off.

    Args:
        callbacks: The node ``callbacks`` of a configuration, as a dictionary.
        kind: Name of the class.

    Example::

        >>> nodes = {"recovery": None, "stop": {"_target_": "lightning.pytorch.callbacks.EarlyStopping"}}
        >>> name_of(nodes, "EarlyStopping"), name_of(nodes, "DivergenceRecovery")
        ('stop', '')

    """
    found = (name for name, node in callbacks.items() if isinstance(node, Mapping) and _kind(node) == kind)
    return next(found, "")


def node_of(callbacks: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """Settings of the first callback of that class; None where there is none, or it is switched off."""
    name = name_of(callbacks, kind)
    return callbacks[name] if name else None


def _kind(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_", "")).rpartition(".")[2]
