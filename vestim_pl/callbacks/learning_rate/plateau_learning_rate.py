"""Cut the learning rate when a metric has stopped improving."""

import logging
import math
from dataclasses import asdict
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vestim_pl.callbacks.learning_rate.plateau import PlateauProgress, PlateauRule, observe_metric
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.events import Event, publish
from vestim_pl.lightning_support.learning_rate import LearningRateFactors, log_learning_rate
from vestim_pl.settings.checks import check_choice, check_integers

__all__ = ["PlateauLearningRate"]


class PlateauLearningRate(Callback):
    """Cuts the learning rate when a metric has stopped improving, as ReduceLROnPlateau does, but as one factor of it.

    torch's ReduceLROnPlateau owns the optimizer's rate, so it does not go with a warmup or another schedule; Lightning
    steps it after the checkpoint of the same validation was written, so a resumed run can lose a cut; and a NaN metric
    counts as an epoch without improvement. This callback owns the factor ``plateau`` of
    `LearningRateFactors` instead. It decides at the end of the validation,
    before checkpoint callbacks save (Lightning runs them last), and all it knows is in the checkpoint. A metric that
    is not finite is ignored but for an event ``non_finite``, one for a row of them. The sanity check is ignored too.
    Under DDP the mean of the metric over the ranks decides, so all ranks cut alike. In a rollback, which cuts the rate
    too, cuts that are not in the weights are taken back, and patience and cooldown begin anew; the best value stays.

    Event: ``plateau`` for every cut, with the new rate; once, when the floor is reached.

    =================  ===================================================================
    Logged key         Meaning
    =================  ===================================================================
    ``learning_rate``  rate that the update used: scheduled rate x plateau x further factors
    =================  ===================================================================

    Args:
        monitor: Name of a logged metric.
        mode: ``min`` if lower is better, ``max`` if higher is.
        factor: What the rate is multiplied with at a cut, between 0 and 1.
        patience: Evaluations without improvement that are borne; the next one cuts.
        threshold: Least improvement that counts.
        threshold_mode: ``rel`` for a part of the best value, ``abs`` for the metric's own unit.
        cooldown: Evaluations after a cut that do not count as bad.
        min_lr: A cut never takes scheduled rate x plateau of the parameter group with the highest rate below this.
        start_after_warmup: Do not count evaluations as bad while a warmup is under way.
        check_on_train_epoch_end: Decide at the end of the training epoch instead of the validation's; None to do so
            only where there is no validation. With True, let checkpoints be written at the end of the training epoch
            too: one of the validation's end comes before the decision.

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
        self.rule = PlateauRule(mode, patience, threshold, threshold_mode, cooldown)
        check_integers(self.rule, name, patience=0, cooldown=0)
        if not 0 < factor < 1:
            raise ConfigurationError(f"{name}.factor: {factor} must lie between 0 and 1, such as 0.5")
        if not (math.isfinite(threshold) and threshold >= 0 and math.isfinite(min_lr) and min_lr >= 0):
            raise ConfigurationError(f"{name}: threshold {threshold} and min_lr {min_lr} must be finite, 0 or more")
        self.progress = PlateauProgress.start(mode)
        self.scale = 1.0
        self.cuts = 0
        self._exhausted = False
        self._unknown = False  # the last value was not finite
        self._trained = False

    @property
    def state_key(self) -> str:
        return self._generate_state_key(monitor=self.monitor, mode=self.rule.mode)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for config in trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, ReduceLROnPlateau) and config.monitor == self.monitor:
                raise ConfigurationError(
                    f"{type(self).__name__}: the module has a ReduceLROnPlateau with monitor {self.monitor!r} too, and"
                    " both would cut for the same plateau; leave one of them out"
                )
        factors = LearningRateFactors.of(trainer)
        factors.attach(trainer)
        factors.set("plateau", self.scale)
        self._trained = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._trained = True
        LearningRateFactors.of(trainer).set("plateau", self.scale)  # somebody may have loaded another one

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        log_learning_rate(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not self._at_train_epoch_end(trainer):
            self._evaluate(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A run that resumes at the end of an epoch comes by here without having trained: it has no metrics yet.
        if self._at_train_epoch_end(trainer) and self._trained:
            self._evaluate(trainer)

    def on_event(self, trainer: Trainer, event: Event) -> None:
        if event.kind == "rollback":
            self.progress = PlateauProgress(self.progress.best, cooldown_left=self.rule.cooldown)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        LearningRateFactors.of(trainer).restore(trainer.optimizers)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            LearningRateFactors.of(trainer).discard("plateau")

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.progress) | {
            "scale": self.scale,
            "cuts": self.cuts,
            "exhausted": self._exhausted,
            "unknown": self._unknown,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        fresh = PlateauProgress.start(self.rule.mode)
        self.progress = PlateauProgress(**{key: state_dict.get(key, value) for key, value in asdict(fresh).items()})
        self.scale = state_dict.get("scale", 1.0)
        self.cuts = state_dict.get("cuts", 0)
        self._exhausted = state_dict.get("exhausted", False)
        self._unknown = state_dict.get("unknown", False)

    def go_back(self, trainer: Trainer, state: dict[str, Any]) -> None:
        """Take back the cuts made since an earlier state, whose weights are back in place; the best value stays."""
        self.scale, self.cuts, self._exhausted = state["scale"], state["cuts"], state["exhausted"]
        LearningRateFactors.of(trainer).set("plateau", self.scale)

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
        told, self._unknown = self._unknown, not math.isfinite(value)
        if self._unknown:
            if not told:
                counts = "until it is finite again, it counts neither as a plateau nor as best"
                reason = f"epoch {trainer.current_epoch}: {self.monitor} is {value}; {counts}"
                publish(trainer, "non_finite", reason, monitor=self.monitor, value=value)
            return
        best = self.progress.best
        self.progress, cut = observe_metric(self.progress, value, self.rule)
        if self.start_after_warmup and LearningRateFactors.of(trainer).get("warmup") < 1:
            self.progress = PlateauProgress(self.progress.best)
            return
        if cut:
            self._cut(trainer, value, best)

    def _cut(self, trainer: Trainer, value: float, best: float) -> None:
        factors = LearningRateFactors.of(trainer)
        highest = max(max(factors.scheduled(optimizer)) for optimizer in trainer.optimizers)
        floor = self.min_lr / highest if highest > 0 else 0.0
        scale = max(self.scale * self.factor, floor)
        stalled = (
            f"epoch {trainer.current_epoch}: {self.monitor} is {value:.5g} and has not got better than {best:.5g} in "
            f"{self.rule.patience + 1} evaluations"
        )
        if scale >= self.scale:
            if not self._exhausted:
                self._exhausted = True
                reason = f"{stalled}; the learning rate is at its floor of {self.min_lr:g} and stays there"
                publish(trainer, "plateau", reason, level=logging.INFO, scale=self.scale)
            return
        self.scale = scale
        self.cuts += 1
        factors.set("plateau", scale)
        rate = factors.effective(trainer.optimizers[0])[0]
        reason = f"{stalled}: the learning rate is cut to {rate:.4g}"
        publish(trainer, "plateau", reason, level=logging.INFO, scale=scale, learning_rate=rate, monitor=self.monitor)
