"""Cut the learning rate when a metric has stopped improving."""

import logging
import math
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.events import Event, publish
from vestim_pl.lightning_support.learning_rate import LearningRateFactors, log_learning_rate
from vestim_pl.lightning_support.loop_progress import begins_training
from vestim_pl.settings.checks import check_choice, check_integers

__all__ = ["PlateauLearningRate"]


class PlateauLearningRate(Callback):
    """Cut the learning rate when a metric has stopped improving, as one factor of the rate.

    Torch's ReduceLROnPlateau decides, running on a private dummy optimizer. Used directly, it has three drawbacks. It
    owns the optimizer's rate, so it cannot be combined with a warmup or another schedule. Lightning steps it after the
    checkpoint of the same validation has been written, so a resumed run can lose a cut. And it counts a NaN metric as
    an epoch without improvement.

    This callback owns the factor ``plateau`` of `LearningRateFactors` instead. It decides at the end of the validation,
    before checkpoint callbacks save, and its state is in the checkpoint. It ignores the sanity check and non-finite
    metrics, with one ``non_finite`` event per series of them. Under DDP, the mean of the metric over the ranks decides,
    so all ranks make the same cuts. A rollback undoes cuts made after the restored weights and restarts patience and
    cooldown; the best value stays.

    Event: ``plateau`` for every cut, with the new rate, and once when the floor is reached.

    =================  ===================================================================
    Logged key         Meaning
    =================  ===================================================================
    ``learning_rate``  rate that the update used: scheduled rate x plateau x other factors
    =================  ===================================================================

    Args:
        monitor: Name of a logged metric.
        mode: ``min`` if lower is better, ``max`` if higher is.
        factor: Ratio of new to old rate at a cut, between 0 and 1.
        patience: Tolerated evaluations without improvement; the next one cuts.
        threshold: Smallest improvement that counts.
        threshold_mode: ``rel`` for a fraction of the best value, ``abs`` for the metric's own unit.
        cooldown: Evaluations after a cut that never count as bad.
        min_lr: Lower limit of scheduled rate x plateau, for the parameter group with the highest rate.
        start_after_warmup: Whether evaluations during a warmup never count as bad.
        check_on_train_epoch_end: Decide at the end of the training epoch instead of the validation; None does so only
            if there is no validation. With True, write checkpoints at the end of the training epoch too, because one
            written at the end of the validation precedes the decision.

    Raises:
        ConfigurationError: If an argument is out of range, the metric is not logged, or the module has a
            ReduceLROnPlateau with the same monitor.

    Example::

        >>> plateau = PlateauLearningRate("val_loss", factor=0.5, patience=5)
        >>> plateau.scale
        1.0

    """

    def __init__(
        self,
        monitor: str,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        start_after_warmup: bool = True,
        check_on_train_epoch_end: bool | None = None,
    ) -> None:
        name = type(self).__name__
        check_choice(f"{name}.mode", mode, ["min", "max"])
        check_choice(f"{name}.threshold_mode", threshold_mode, ["rel", "abs"])
        self.monitor, self.factor, self.min_lr = monitor, factor, min_lr
        self.start_after_warmup, self.check_on_train_epoch_end = start_after_warmup, check_on_train_epoch_end
        self.mode, self.patience, self.cooldown = mode, patience, cooldown
        check_integers(self, name, patience=0, cooldown=0)
        if not 0 < factor < 1:
            raise ConfigurationError(f"{name}.factor: {factor} must lie between 0 and 1, such as 0.5")
        if not (math.isfinite(threshold) and threshold >= 0 and math.isfinite(min_lr) and min_lr >= 0):
            raise ConfigurationError(
                f"{name}: threshold {threshold} and min_lr {min_lr} must be finite and at least 0, such as 1e-4 and 0"
            )
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)  # a dummy, whose rate is the factor
        self.scheduler = ReduceLROnPlateau(
            optimizer, mode, factor, patience, threshold, threshold_mode, cooldown, eps=0.0
        )
        self.cuts = 0
        self._exhausted = False
        self._unknown = False  # whether the last value was non-finite
        self._trained = False

    @property
    def scale(self) -> float:
        """Factor of the learning rate: the product of all cuts."""
        return float(self.scheduler.optimizer.param_groups[0]["lr"])

    @property
    def state_key(self) -> str:
        return self._generate_state_key(monitor=self.monitor, mode=self.mode)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if begins_training(trainer, stage):
            self.load_state_dict({})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for config in trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, ReduceLROnPlateau) and config.monitor == self.monitor:
                raise ConfigurationError(
                    f"{type(self).__name__}: the module also has a ReduceLROnPlateau with monitor {self.monitor!r}, and"
                    " both would cut for the same plateau; remove one of them"
                )
        factors = LearningRateFactors.of(trainer)
        factors.attach(trainer)
        factors.set("plateau", self.scale)
        self._trained = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._trained = True
        LearningRateFactors.of(trainer).set("plateau", self.scale)  # a checkpoint may have been loaded

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        log_learning_rate(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not self._at_train_epoch_end(trainer):
            self._evaluate(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A run that resumes at the end of an epoch calls this hook before it has trained or logged anything.
        if self._at_train_epoch_end(trainer) and self._trained:
            self._evaluate(trainer)

    def on_event(self, trainer: Trainer, event: Event) -> None:
        if event.kind == "rollback":
            self.scheduler.num_bad_epochs, self.scheduler.cooldown_counter = 0, self.cooldown

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        LearningRateFactors.of(trainer).restore(trainer.optimizers)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            LearningRateFactors.of(trainer).discard("plateau")

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": float(self.scheduler.best),
            "bad_evaluations": self.scheduler.num_bad_epochs,
            "cooldown_left": self.scheduler.cooldown_counter,
            "scale": self.scale,
            "cuts": self.cuts,
            "exhausted": self._exhausted,
            "unknown": self._unknown,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.scheduler.best = state_dict.get("best", math.inf if self.mode == "min" else -math.inf)
        self.scheduler.num_bad_epochs = state_dict.get("bad_evaluations", 0)
        self.scheduler.cooldown_counter = state_dict.get("cooldown_left", 0)
        self._restore_cuts(state_dict.get("scale", 1.0), state_dict.get("cuts", 0), state_dict.get("exhausted", False))
        self._unknown = state_dict.get("unknown", False)

    def go_back(self, trainer: Trainer, state: dict[str, Any]) -> None:
        """Undo the cuts since the restored weights; the best value stays."""
        self._restore_cuts(state["scale"], state["cuts"], state["exhausted"])
        LearningRateFactors.of(trainer).set("plateau", self.scale)

    def _restore_cuts(self, scale: float, cuts: int, exhausted: bool) -> None:
        self.scheduler.optimizer.param_groups[0]["lr"] = scale
        self.cuts, self._exhausted = cuts, exhausted

    def _at_train_epoch_end(self, trainer: Trainer) -> bool:
        if self.check_on_train_epoch_end is None:
            return not trainer.enable_validation
        return self.check_on_train_epoch_end

    def _evaluate(self, trainer: Trainer) -> None:
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            if trainer.fast_dev_run:  # type: ignore[attr-defined]
                return
            raise ConfigurationError(
                f"{type(self).__name__}.monitor: {self.monitor!r} is not logged; choose one of "
                f"{', '.join(sorted(metrics)) or '(no metric is logged)'}"
            )
        mean = trainer.strategy.reduce(metrics[self.monitor].detach().float().squeeze(), reduce_op="mean")
        value = float(mean)
        reported, self._unknown = self._unknown, not math.isfinite(value)
        if self._unknown:
            if not reported:
                ignored = "non-finite values are ignored and do not count towards the plateau"
                reason = f"epoch {trainer.current_epoch}: {self.monitor} is {value}; {ignored}"
                publish(trainer, "non_finite", reason, monitor=self.monitor, value=value)
            return
        factors = LearningRateFactors.of(trainer)
        if self.start_after_warmup and factors.get("warmup") < 1:
            # This evaluation can set the best value but does not count as bad.
            self.scheduler.num_bad_epochs, self.scheduler.cooldown_counter = 0, 1
            self.scheduler.step(value)
            return
        self._step(trainer, factors, value)

    def _step(self, trainer: Trainer, factors: LearningRateFactors, value: float) -> None:
        """Let torch's scheduler decide, and publish a cut or that the floor is reached."""
        before, best = self.scale, float(self.scheduler.best)
        last_chance = self.scheduler.num_bad_epochs >= self.patience and self.scheduler.cooldown_counter <= 0
        highest = max(max(factors.scheduled(optimizer)) for optimizer in trainer.optimizers)
        self.scheduler.min_lrs = [min(before, self.min_lr / highest) if highest > 0 else 0.0]
        self.scheduler.step(value)
        if not last_chance or self.scheduler.best != best:
            return
        stalled = (
            f"epoch {trainer.current_epoch}: {self.monitor} is {value:.5g} and has not improved on {best:.5g} in "
            f"{self.patience + 1} evaluations"
        )
        if self.scale < before:
            self.cuts += 1
            factors.set("plateau", self.scale)
            rate = factors.effective(trainer.optimizers[0])[0]
            reason = f"{stalled}; learning rate cut to {rate:.4g}"
            publish(
                trainer, "plateau", reason, level=logging.INFO, scale=self.scale, learning_rate=rate,
                monitor=self.monitor,
            )  # fmt: skip
        elif not self._exhausted:
            self._exhausted = True
            reason = f"{stalled}; the learning rate stays at its floor of {self.min_lr:g}"
            publish(trainer, "plateau", reason, level=logging.INFO, scale=self.scale)
