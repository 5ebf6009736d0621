"""Metrics that a module logs, and those that EarlyStopping, ModelCheckpoint and schedulers decide by."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vestim_pl.lightning_support.lightning_classes import early_stopping_callbacks, model_checkpoints

__all__ = ["log_agreed", "minimized_metric", "nonfinite_metrics"]


def log_agreed(pl_module: LightningModule, values: Mapping[str, Tensor | float], *, prog_bar: bool = False) -> None:
    """Log numbers of an epoch that are already equal on all ranks.

    Lightning treats a logged value as that of one rank and reduces it. The maximum of equal numbers is that number bit
    for bit, which a mean over three ranks need not be. Log each name once an epoch, on all ranks.
    """
    for name, value in values.items():
        pl_module.log(name, value, prog_bar=prog_bar, sync_dist=True, reduce_fx="max", batch_size=1)


def nonfinite_metrics(trainer: Trainer, monitor: str | None = None, schedulers: bool = False) -> dict[str, float]:
    """Find the non-finite metrics of the validation or training epoch that is ending.

    Metrics left over from another loop do not count. The values are means over the ranks, so that all ranks decide
    alike if a metric is NaN on one of them. Call it on all ranks.

    Args:
        trainer: Trainer at the end of a validation or training epoch.
        monitor: Name of a metric; None for those that EarlyStopping and ModelCheckpoint monitor.
        schedulers: Include the metrics of schedulers that reduce the rate on a plateau.

    """
    names = [monitor] if monitor else _monitored(trainer)
    names += [config.monitor for config in trainer.lr_scheduler_configs if schedulers and config.reduce_on_plateau]
    means = _over_ranks(trainer, sorted({name for name in names if name}), _metrics_of_loop(trainer))
    return {name: value for name, value in means.items() if not math.isfinite(value)}


def minimized_metric(trainer: Trainer, monitor: str | None) -> tuple[str, float]:
    """Find the validation metric that training minimizes; call it on all ranks, at the end of a validation.

    Args:
        trainer: The trainer.
        monitor: Name of the metric; None for the first that an EarlyStopping or ModelCheckpoint minimizes.

    Returns:
        Name and mean over the ranks; an empty name and NaN if there is no such metric.

    """
    maximized = {callback.monitor for callback in _deciding(trainer) if callback.mode == "max"}
    names = [name for name in ([monitor] if monitor else _monitored(trainer)) if name and name not in maximized]
    found = _over_ranks(trainer, names, trainer.callback_metrics)
    return next(iter(found.items()), ("", math.nan))


def _metrics_of_loop(trainer: Trainer) -> Mapping[str, Tensor]:
    """The metrics of the loop that is running.

    ``Trainer.callback_metrics`` also holds those of earlier loops, hence the private attribute. Tested with lightning
    2.6.6.
    """
    return trainer._results.metrics(on_step=False)["callback"] if trainer._results else {}


def _deciding(trainer: Trainer) -> list[Any]:
    return [*early_stopping_callbacks(trainer), *model_checkpoints(trainer)]


def _monitored(trainer: Trainer) -> list[str | None]:
    return [callback.monitor for callback in _deciding(trainer)]


def _over_ranks(trainer: Trainer, names: Sequence[str], metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Average each metric over the ranks that have it, in the order of the names; non-finite if it is so on one."""
    if trainer.world_size == 1:
        return {name: float(metrics[name]) for name in names if name in metrics}
    rows = [[float(metrics.get(name, 0.0)) for name in names], [float(name in metrics) for name in names]]
    both = torch.tensor(rows, dtype=torch.float32, device=trainer.strategy.root_device)
    sums, counts = trainer.strategy.reduce(both, reduce_op="sum").tolist()
    return {name: total / count for name, total, count in zip(names, sums, counts, strict=True) if count}
