"""Log one line per epoch, and at the end why training stopped and which epoch was best."""

import logging
import math
import time
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.lightning_support.events import Event, publish
from vestim_pl.lightning_support.learning_rate import LearningRateFactors
from vestim_pl.lightning_support.lightning_classes import early_stopping_callbacks
from vestim_pl.lightning_support.loop_progress import begins_training
from vestim_pl.settings.checks import check_choice

__all__ = ["EpochSummary"]

_log = logging.getLogger("vestim_pl")


class EpochSummary(Callback):
    """Log one line per epoch on the logger ``vestim_pl``, readable on a terminal and in any log file.

    A line reads ``epoch 12: train 21.43 mV, validation 18.9 mV (best), 12.3 s, learning rate 0.0001, gradient norm
    0.53, patience 12 of 15``. Metrics that were not logged in this epoch are omitted, so any module works. The learning
    rate is the one that the last update of the epoch used. The line is written at the start of the next epoch, after
    EarlyStopping and schedulers have decided.

    The loggers also receive the duration of each epoch, so ``metrics.csv`` shows whether training became slower. The
    processor time tells the two causes apart: it rises if training has more to do, and stays the same if another
    program uses the machine. An epoch resumed in the middle has no durations.

    ============================== ===================================================================================
    logged key (once per epoch)    meaning
    ============================== ===================================================================================
    ``epoch/seconds``              duration of the epoch with validation, in seconds
    ``epoch/training_seconds``     duration of the epoch without validation, in seconds
    ``epoch/training_cpu_seconds`` processor time of all threads of this process without validation, in seconds
    ============================== ===================================================================================

    At the end, a ``stop`` event reports why training stopped (EarlyStopping's reason, or the limit reached) and which
    epoch was best; its ``cause`` is ``limit``, ``early_stopping``, ``diverged`` or ``callback``. If another callback
    has already published a ``stop`` event, a log line names only the last and the best epoch. The best value so far is
    in the checkpoint.

    Args:
        train_metric: Metric of the training epoch.
        val_metric: Validation metric that determines the best epoch.
        gradient_norm: Metric to show as the gradient norm.
        unit: Unit of the first two metrics; may be empty.
        mode: ``min`` if a lower validation metric is better, ``max`` if a higher one is.
        left_out: Metric that counts the batches left out of ``train_metric``; shown if not 0.

    Raises:
        ConfigurationError: If ``mode`` is unknown.

    Example::

        >>> summary = EpochSummary("train_loss", "val_loss", unit="")
        >>> summary.best_epoch is None
        True

    """

    def __init__(
        self,
        train_metric: str = "train/rmse_mv",
        val_metric: str = "val/rmse_mv",
        gradient_norm: str = "grad_norm/median",
        unit: str = "mV",
        mode: Literal["min", "max"] = "min",
        left_out: str = "train/left_out",
    ) -> None:
        check_choice(f"{type(self).__name__}.mode", mode, ["min", "max"])
        self.train_metric, self.val_metric, self.gradient_norm = train_metric, val_metric, gradient_norm
        self.unit, self.mode, self.left_out = unit, mode, left_out
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._since = _now()
        self._in_validation = np.zeros(2)
        self._validation_since: np.ndarray | None = None
        self._whole = False  # whether the epoch began in this process
        self._finished: tuple[int, float] | None = None  # epoch and seconds of the pending line
        self._validated = False
        self._before: dict[str, Any] = {}  # metrics at the start of the epoch
        self._stop_reported = False  # whether another callback has published why training stops

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if begins_training(trainer, stage):
            self.load_state_dict({})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since, self._in_validation, self._whole = _now(), np.zeros(2), False
        self._finished, self._validated, self._before, self._stop_reported = None, False, {}, False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)
        self._since, self._in_validation, self._whole = _now(), np.zeros(2), True
        self._validated, self._before = False, dict(trainer.callback_metrics)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_since = _now()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._validation_since is not None:
            self._in_validation += _now() - self._validation_since
            self._validation_since = None
        value = trainer.callback_metrics.get(self.val_metric)
        if trainer.state.fn != "fit" or trainer.sanity_checking or value is None:
            return
        self._validated = True
        if math.isfinite(value) and (self.best is None or self._better(float(value), self.best)):
            self.best, self.best_epoch = float(value), trainer.current_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = _now() - self._since
        self._finished = trainer.current_epoch, float(epoch[0])
        if self._whole:
            names = ("seconds", "training_seconds", "training_cpu_seconds")
            times = map(float, (epoch[0], *(epoch - self._in_validation)))
            named = {f"epoch/{name}": value for name, value in zip(names, times, strict=True)}
            pl_module.log_dict(named, sync_dist=True, reduce_fx="max", batch_size=1)  # those of the slowest rank

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch - 1 if self._finished is None else self._finished[0]
        self._write(trainer)
        ended = f"stopped after epoch {epoch}"
        best = (
            f"; best validation {self._figure(self.best)} in epoch {self.best_epoch}" if self.best is not None else ""
        )
        if self._stop_reported:
            _info(trainer, f"{ended}{best}")
        else:
            cause, reason = _why_stopped(trainer)
            publish(
                trainer, "stop", f"{ended}: {reason}{best}", level=logging.INFO, cause=cause, best=self.best,
                best_epoch=self.best_epoch,
            )  # fmt: skip

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._write(trainer)

    def on_event(self, trainer: Trainer, event: Event) -> None:
        """Record that another callback has reported why training stops."""
        self._stop_reported |= event.kind == "stop"

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_epoch = state_dict.get("best"), state_dict.get("best_epoch")

    def _better(self, value: float, best: float) -> bool:
        return value < best if self.mode == "min" else value > best

    def _figure(self, value: float) -> str:
        return f"{float(value):.4g} {self.unit}".rstrip()

    def _write(self, trainer: Trainer) -> None:
        if self._finished is None:
            return
        (epoch, seconds), self._finished = self._finished, None
        # Lightning keeps the values of earlier epochs; an identical tensor was not logged in this epoch.
        metrics = {k: v for k, v in trainer.callback_metrics.items() if v is not self._before.get(k)}
        parts = []
        if self.train_metric in metrics:
            count = int(metrics.get(self.left_out, 0))
            left_out = f" ({count} non-finite {'batch' if count == 1 else 'batches'} left out)" if count else ""
            parts.append(f"train {self._figure(float(metrics[self.train_metric]))}{left_out}")
        if self._validated:
            best = " (best)" if self.best_epoch == epoch else ""
            parts.append(f"validation {self._figure(float(metrics[self.val_metric]))}{best}")
        parts.append(f"{seconds:.1f} s")
        if trainer.optimizers:
            parts.append(f"learning rate {LearningRateFactors.of(trainer).used(trainer.optimizers[0])[0]:.3g}")
        if self.gradient_norm in metrics:
            parts.append(f"gradient norm {float(metrics[self.gradient_norm]):.3g}")
        if stoppers := early_stopping_callbacks(trainer):
            stopping = stoppers[0]
            parts.append(f"patience {max(0, stopping.patience - stopping.wait_count)} of {stopping.patience}")
        _info(trainer, f"epoch {epoch}: {', '.join(parts)}")


def _now() -> np.ndarray:
    """Wall time and processor time of this process, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def _info(trainer: Trainer, text: str) -> None:
    if trainer.is_global_zero:
        _log.info("%s", text)


def _why_stopped(trainer: Trainer) -> tuple[str, str]:
    """Find out why training stopped; returns the cause in a word, and the reason in words."""
    if trainer.should_stop:
        for callback in early_stopping_callbacks(trainer):
            if message := _early_stopping_reason(callback):
                return "diverged" if _saw_divergence(trainer, callback) else "early_stopping", message
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return "limit", f"max_steps {trainer.max_steps} reached"
    if trainer.max_epochs not in (None, -1) and trainer.current_epoch >= trainer.max_epochs:
        return "limit", f"max_epochs {trainer.max_epochs} reached"
    if trainer.should_stop:
        return "callback", "a callback requested the stop"
    return "limit", "no more training data"


def _saw_divergence(trainer: Trainer, stopping: Any) -> bool:
    """Whether EarlyStopping's metric is non-finite or beyond its divergence threshold."""
    value = torch.as_tensor(trainer.callback_metrics.get(stopping.monitor, 0.0))
    threshold = stopping.divergence_threshold
    return not value.isfinite() or (threshold is not None and bool(stopping.monitor_op(-value, -threshold)))


def _early_stopping_reason(stopping: Any) -> str:
    if message := stopping.stopping_reason_message:
        return str(message).replace(" Signaling Trainer to stop.", "").replace(" records.", " validations.").rstrip(".")
    if stopping.wait_count >= stopping.patience:
        return f"{stopping.monitor} did not improve in the last {stopping.wait_count} validations"
    return ""
