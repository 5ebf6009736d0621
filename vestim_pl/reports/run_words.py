"""Describe a run in one line."""

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["run_in_words"]


def run_in_words(setting: Callable[[str, Any], Any]) -> str:
    """Describe network, sampling, optimizer and data of a configuration.

    Args:
        setting: Returns the value of a dotted key, or its second argument if missing.

    Returns:
        A line; empty if network, sampling or optimizer is missing.

    Example::

        >>> config = {"network": {"name": "LSTM", "hidden_sizes": [32], "members": 3}, "sampling":
        ...     {"lookback": 100, "lanes": 16}, "optimizer": {"name": "AdamW", "lr": 0.1}, "data.rc_pairs": [50]}
        >>> run_in_words(config.get)
        'mean of 3 x LSTM [32], RC pairs [50], lookback 100, lanes 16 each, AdamW, learning rate 0.1'

    """
    network, sampling, optimizer = (setting(key, {}) for key in ("network", "sampling", "optimizer"))
    if not all(isinstance(node, Mapping) and node for node in (network, sampling, optimizer)):
        return ""
    members = network.get("members", 1)
    several = _is_number(members) and members > 1
    words = [
        f"mean of {members} x " * several
        + f"{network.get('name', 'network')} {network.get('hidden_sizes', '')}".strip()
        + (f" with direct path {network['direct']}" if network.get("direct") else ""),
        f"RC pairs {setting('data.rc_pairs', [])}" if setting("data.rc_pairs", []) else "",
        f"lookback {sampling.get('lookback')}",
    ]
    words += [
        f"{name.replace('_', ' ')} {sampling[name]}{' each' * several}"
        for name in ("batch_size", "lanes")
        if name in sampling
    ]
    rate = optimizer.get("lr")
    words += [f"{optimizer.get('name')}, learning rate {rate:g}" if _is_number(rate) else ""]
    words += [f"data {setting('data.root', '')}" if setting("data.root", "") else ""]
    return ", ".join(word for word in words if word)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
