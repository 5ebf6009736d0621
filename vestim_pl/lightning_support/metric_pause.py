"""Non-finite metrics, and keeping EarlyStopping and schedulers from answering them a second time."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from vestim_pl.lightning_support.lightning_classes import early_stopping_callbacks, model_checkpoints
from vestim_pl.lightning_support.scheduler_pause import SchedulerHold

__all__ = ["MetricShield", "nonfinite_metrics", "smallest_wanted"]


def nonfinite_metrics(trainer: Trainer, monitor: str | None = None, schedulers: bool = False) -> dict[str, float]:
    """Metrics of the validation, or of the training epoch, at whose end the trainer is, that are not finite.

    Metrics that another loop has left behind are not judged again. Every rank gets what is true of the mean over the
    ranks, so that one on which a metric is NaN does not go back alone; so all ranks have to call it.

    Args:
        trainer: Trainer at the end of a validation or of a training epoch.
        monitor: Name of a metric; if None, those that EarlyStopping and ModelCheckpoint callbacks monitor.
        schedulers: Those too on whose plateau a scheduler reduces.

    """
    own = trainer._results.metrics(on_step=False)["callback"] if trainer._results else {}
    names = [monitor] if monitor else _monitored(trainer)
    names += [config.monitor for config in trainer.lr_scheduler_configs if schedulers and config.reduce_on_plateau]
    means = _over_ranks(trainer, sorted({name for name in names if name}), own)
    return {name: value for name, value in means.items() if not math.isfinite(value)}


def smallest_wanted(trainer: Trainer, monitor: str | None) -> tuple[str, float]:
    """The validation metric that training is judged by, where a small one is wanted: its name and mean over the ranks.

    Args:
        trainer: Trainer at the end of a validation; on all ranks.
        monitor: Name of the metric; if None, the first that an EarlyStopping or a ModelCheckpoint wants small.

    Returns:
        An empty name and NaN where there is none.

    """
    unwanted = {callback.monitor for callback in _deciding(trainer) if callback.mode == "max"}
    names = [name for name in ([monitor] if monitor else _monitored(trainer)) if name and name not in unwanted]
    found = _over_ranks(trainer, names, trainer.callback_metrics)
    return next(iter(found.items()), ("", math.nan))


def _deciding(trainer: Trainer) -> list[Any]:
    return [*early_stopping_callbacks(trainer), *model_checkpoints(trainer)]


def _monitored(trainer: Trainer) -> list[str | None]:
    return [callback.monitor for callback in _deciding(trainer)]


def _over_ranks(trainer: Trainer, names: Sequence[str], metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean of each metric over the ranks that have it, in the order of the names; not finite if it is so on one."""
    if trainer.world_size == 1:
        return {name: float(metrics[name]) for name in names if name in metrics}
    rows = [[float(metrics.get(name, 0.0)) for name in names], [float(name in metrics) for name in names]]
    both = torch.tensor(rows, dtype=torch.float32, device=trainer.strategy.root_device)
    sums, counts = trainer.strategy.reduce(both, reduce_op="sum").tolist()
    return {name: total / count for name, total, count in zip(names, sums, counts, strict=True) if count}


class MetricShield:
    """Lets a non-finite metric that has been dealt with cost EarlyStopping's patience, but not the run or the rate.

    EarlyStopping that monitors it does not check for finite values meanwhile, and a scheduler that reduces on a plateau
    of it is not stepped: it would count a NaN as no progress.

    Example::

        >>> from lightning.pytorch.callbacks import EarlyStopping
        >>> stopper = EarlyStopping("val_loss")
        >>> trainer = Trainer(callbacks=[stopper], logger=False, enable_checkpointing=False)
        >>> shield = MetricShield()
        >>> shield.raise_over(trainer, ["val_loss"])
        >>> stopper.check_finite
        False
        >>> shield.lower()
        True
        >>> stopper.check_finite
        True

    """

    def __init__(self) -> None:
        self._stoppers: list[Any] = []
        self._schedulers = SchedulerHold()
        self._raised = False

    def raise_over(self, trainer: Trainer, metrics: Collection[str]) -> None:
        """Keep the metrics from what would decide by them."""
        self._raised = True
        self._schedulers.engage_plateaus(trainer.lr_scheduler_configs, metrics)
        for stopper in early_stopping_callbacks(trainer):
            if stopper.check_finite and stopper.monitor in metrics:
                stopper.check_finite = False
                self._stoppers.append(stopper)

    def lower(self) -> bool:
        """Let them decide again; returns whether the shield was up."""
        raised, self._raised = self._raised, False
        self._schedulers.release()
        for stopper in self._stoppers:
            stopper.check_finite = True
        self._stoppers.clear()
        return raised
