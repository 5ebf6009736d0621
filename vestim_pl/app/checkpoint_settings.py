"""Checkpoint callbacks: settings that Lightning takes but that would keep the wrong file, and the best checkpoint."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from vestim_pl.callbacks.runtime.checkpoint_interval import parse_interval
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.lightning_classes import model_checkpoints

__all__ = ["best_checkpoint", "refuse_wrong_checkpoints", "why_no_best"]

_MODEL_CHECKPOINT = "ModelCheckpoint"


def refuse_wrong_checkpoints(callbacks: Mapping[str, Any]) -> None:
    """Refuse a ModelCheckpoint that ranks by a stale metric or writes ``last.ckpt``, and an interval without meaning.

    Within an epoch the monitored metric is that of the previous validation, of other weights: the file kept as the best
    would be the first one written after a good validation, not the best one.

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
                    " validation; remove it: last.ckpt is written within epochs by checkpoint_every='500 steps'"
                )
        if node.get("save_last") and callbacks.get("last_checkpoint"):
            raise ConfigurationError(
                f"callbacks.{name}.save_last: {node['save_last']} would write the best state as last.ckpt, over that of"
                " callbacks.last_checkpoint; remove it: last.ckpt is the last state already"
            )


def best_checkpoint(trainer: pl.Trainer) -> ModelCheckpoint | None:
    """Find the callback that kept a best checkpoint; None if no callback did."""
    kept = [callback for callback in model_checkpoints(trainer) if callback.best_model_path]
    return kept[0] if kept else None


def why_no_best(config: DictConfig) -> str:
    """Explain why a complete training has no best checkpoint."""
    if config.callbacks.get("checkpoint") is None:
        return "callbacks has no checkpoint; write callbacks=[default,...] to add to the default ones"
    return "no validation ended; check trainer.check_val_every_n_epoch and trainer.limit_val_batches"
