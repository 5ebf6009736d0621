"""Parts of Lightning that a callback pauses for a while: clipping by value, schedulers, EarlyStopping's check."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.plugins import Precision
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim import Optimizer

from vestim_pl.lightning_support.lightning_classes import early_stopping_callbacks
from vestim_pl.lightning_support.step_finiteness import gradient_tensors

__all__ = ["ClippingPause", "MetricPause", "SchedulerPause"]

_PAUSED = "paused"


class ClippingPause:
    """Skips clipping by value for optimizers without gradients.

    Clipping runs after a step was skipped, and torch's ``clip_grad_value_`` raises if no parameter has a gradient
    (``clip_grad_norm_`` does not). The pause replaces ``clip_grad_by_value`` of the precision plugin, because Lightning
    and a module's own ``configure_gradient_clipping`` both end there. Tested with lightning 2.6.6 and torch 2.13.0.

    Example::

        >>> import torch
        >>> plugin, optimizer = Precision(), torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> pause = ClippingPause()
        >>> pause.start(plugin)
        >>> plugin.clip_grad_by_value(optimizer, 1.0)
        >>> pause.stop()
        >>> plugin.clip_grad_by_value(optimizer, 1.0)
        Traceback (most recent call last):
        ...
        RuntimeError: Expected !nested_tensorlist[0].empty() to be true, but got false...

    """

    def __init__(self) -> None:
        self._plugin: Precision | None = None

    def start(self, plugin: Precision) -> None:
        """Start the pause; a second call changes nothing."""
        if self._plugin is None:
            self._plugin = plugin
            plugin.clip_grad_by_value = partial(_clip_present, plugin)  # type: ignore[method-assign]

    def stop(self) -> None:
        if self._plugin is not None:
            del self._plugin.clip_grad_by_value
            self._plugin = None


def _clip_present(plugin: Precision, optimizer: Optimizer, clip_val: float) -> None:
    if gradient_tensors(optimizer):
        type(plugin).clip_grad_by_value(plugin, optimizer, clip_val)


class SchedulerPause:
    """Keeps schedulers from stepping, after an update that was not applied or on a metric that does not count.

    Lightning steps a scheduler of ``interval: step`` after every optimizer step, applied or not (Lightning issues 5558
    and 16228). Undoing that step would require knowing what each scheduler changed in the optimizer. Instead, the
    interval of the scheduler is renamed for a while, so that Lightning passes over it. Tested with lightning 2.6.6.

    Example::

        >>> config = LRSchedulerConfig(scheduler=None, interval="step")
        >>> pause = SchedulerPause()
        >>> pause.start([config])
        >>> config.interval
        'paused'
        >>> pause.stop()
        >>> config.interval
        'step'

    """

    def __init__(self) -> None:
        self._paused: list[tuple[LRSchedulerConfig, str]] = []

    def start(self, configs: Sequence[LRSchedulerConfig]) -> None:
        """Pause the schedulers that step after every optimizer step."""
        self._pause([config for config in configs if config.interval == "step"])

    def start_plateaus(self, configs: Sequence[LRSchedulerConfig], metrics: Collection[str]) -> None:
        """Pause the schedulers that reduce the rate on a plateau of one of the metrics."""
        self._pause([config for config in configs if config.reduce_on_plateau and config.monitor in metrics])

    def stop(self) -> None:
        for config, interval in self._paused:
            config.interval = interval
        self._paused.clear()

    def _pause(self, configs: Sequence[LRSchedulerConfig]) -> None:
        for config in configs:
            if config.interval != _PAUSED:  # another pause holds it and will restore it
                self._paused.append((config, config.interval))
                config.interval = _PAUSED


class MetricPause:
    """Lets a non-finite metric that was already dealt with cost EarlyStopping's patience, but not the run or the rate.

    EarlyStopping on that metric stops checking for finite values, and a scheduler that reduces the rate on its plateau
    is not stepped, because it would count a NaN as no progress.

    Example::

        >>> from lightning.pytorch.callbacks import EarlyStopping
        >>> stopper = EarlyStopping("val_loss")
        >>> trainer = Trainer(callbacks=[stopper], logger=False, enable_checkpointing=False)
        >>> pause = MetricPause()
        >>> pause.start(trainer, ["val_loss"])
        >>> stopper.check_finite
        False
        >>> pause.stop()
        True
        >>> stopper.check_finite
        True

    """

    def __init__(self) -> None:
        self._stoppers: list[Any] = []
        self._schedulers = SchedulerPause()
        self._started = False

    def start(self, trainer: Trainer, metrics: Collection[str]) -> None:
        """Start the pause for what monitors one of the metrics."""
        self._started = True
        self._schedulers.start_plateaus(trainer.lr_scheduler_configs, metrics)
        for stopper in early_stopping_callbacks(trainer):
            if stopper.check_finite and stopper.monitor in metrics:
                stopper.check_finite = False
                self._stoppers.append(stopper)

    def stop(self) -> bool:
        """End the pause; returns whether it had been started."""
        started, self._started = self._started, False
        self._schedulers.stop()
        for stopper in self._stoppers:
            stopper.check_finite = True
        self._stoppers.clear()
        return started
