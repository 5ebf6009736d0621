"""Settings of checkpoint callbacks that Lightning takes and that would keep the wrong file."""

from collections.abc import Mapping
from typing import Any

from vestim_pl.callbacks.runtime.checkpoint_interval import parse_interval
from vestim_pl.errors import ConfigurationError

__all__ = ["refuse_wrong_checkpoints"]

_MODEL_CHECKPOINT = "ModelCheckpoint"


def refuse_wrong_checkpoints(callbacks: Mapping[str, Any]) -> None:
    """Refuse a ModelCheckpoint that would rank by a stale metric or write ``last.ckpt``, and what is no interval.

    Within an epoch the monitored metric is that of the validation before, of other weights: the file kept as the best
    would be the first one written after a good validation, and not the best.

    Args:
        callbacks: The nodes of ``callbacks`` in the configuration, by name.

    Raises:
        ConfigurationError: With the setting.

    Example::

        >>> refuse_wrong_checkpoints({"a": {"_target_": "ModelCheckpoint", "monitor": "x", "every_n_train_steps": 9}})
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: callbacks.a.every_n_train_steps: 9 ...

    """
    parse_interval((callbacks.get("last_checkpoint") or {}).get("every"), "checkpoint_every")
    for name, node in callbacks.items():
        if not isinstance(node, Mapping) or not str(node.get("_target_", "")).endswith(_MODEL_CHECKPOINT):
            continue
        for key in ("every_n_train_steps", "train_time_interval"):
            if node.get("monitor") and node.get(key):
                raise ConfigurationError(
                    f"callbacks.{name}.{key}: {node[key]} would rank checkpoints by {node['monitor']} of an earlier"
                    " validation; take it out: last.ckpt is written within epochs by checkpoint_every='500 steps'"
                )
        if node.get("save_last") and callbacks.get("last_checkpoint"):
            raise ConfigurationError(
                f"callbacks.{name}.save_last: {node['save_last']} would write the best state as last.ckpt, over that of"
                " callbacks.last_checkpoint; take it out: last.ckpt is the last state already"
            )
