"""Start training at a low learning rate and raise it to the full one."""

import logging
import math
from functools import partial
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.learning_rate import LearningRateFactors, log_learning_rate
from vestim_pl.lightning_support.loop_progress import begins_training
from vestim_pl.settings.checks import check_choice, check_integers

__all__ = ["LearningRateWarmup", "warmup_factor"]


class LearningRateWarmup(Callback):
    """Raise the learning rate from a low start to its full value over the first updates.

    Early gradients of a recurrent network over a long window are large and noisy, and Adam's second moment is still an
    estimate from a few of them. Many runs therefore diverge in their first steps at the full learning rate.

    The callback owns the factor ``warmup`` of `LearningRateFactors`, so it composes with any scheduler of the module
    and with `PlateauLearningRate`. It counts *applied* updates: an update skipped by a gradient scaler or a guard does
    not advance the warmup. `warmup_factor` has the formula. With several optimizers, the one with the most updates
    counts. With ``unit="epochs"`` each update advances the warmup by its share of the current epoch, so the warmup has
    its length whatever accumulation and data loaders do from epoch to epoch.

    The count is in the checkpoint, so a resumed run continues bit for bit; a checkpoint without it restarts the warmup.
    A rollback restores the count together with the weights. One ``warmup`` event reports that the full rate is reached.

    =================  ===================================================================
    Logged key         Meaning
    =================  ===================================================================
    ``learning_rate``  rate that the update used: scheduled rate x warmup x other factors
    =================  ===================================================================

    Args:
        duration: Length of the warmup, in ``unit``; 0 disables it.
        unit: ``steps`` for applied optimizer updates, or ``epochs``.
        shape: ``linear`` or ``cosine``.
        start_factor: Factor of the first update, above 0 and at most 1.

    Raises:
        ConfigurationError: If an argument is out of range, or ``unit`` is ``epochs`` and the number of batches is
            unknown.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> warmup = LearningRateWarmup(duration=100, shape="cosine")
        >>> trainer = Trainer(max_steps=10, callbacks=[warmup], logger=False, enable_checkpointing=False,
        ...                   enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
        >>> trainer.fit(BoringModel())
        >>> warmup.applied_updates
        10

    """

    def __init__(
        self,
        duration: int,
        unit: Literal["steps", "epochs"] = "steps",
        shape: Literal["linear", "cosine"] = "linear",
        start_factor: float = 0.01,
    ) -> None:
        name = type(self).__name__
        self.duration, self.unit, self.shape, self.start_factor = duration, unit, shape, start_factor
        check_integers(self, name, duration=0)
        check_choice(f"{name}.unit", unit, ["steps", "epochs"])
        check_choice(f"{name}.shape", shape, ["linear", "cosine"])
        if not 0 < start_factor <= 1:
            raise ConfigurationError(f"{name}.start_factor: {start_factor} must be above 0 and at most 1, such as 0.01")
        self._updates: dict[int, int] = {}
        self._epochs_before = 0.0  # warmed up before the current epoch, which begins after so many updates:
        self._updates_before = 0
        self._updates_per_epoch = 1
        self._hooks: list[Any] = []
        self._just_finished = False

    @property
    def applied_updates(self) -> int:
        return max(self._updates.values(), default=0)

    @property
    def _progress(self) -> float:
        """Part of the warmup that is done, in its unit."""
        if self.unit == "steps":
            return self.applied_updates
        return self._epochs_before + (self.applied_updates - self._updates_before) / self._updates_per_epoch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if begins_training(trainer, stage):
            self.load_state_dict({})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._count_epoch(trainer)
        self._unhook()
        factors = LearningRateFactors.of(trainer)
        factors.attach(trainer)
        self._set(factors)
        for index, optimizer in enumerate(trainer.optimizers):
            hook = partial(self._after_update, factors=factors, index=index)
            self._hooks.append(optimizer.register_step_post_hook(hook))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.unit == "epochs":  # by now other callbacks have set the accumulation of this epoch
            if batch_idx == 0:
                self._epochs_before, self._updates_before = self._progress, self.applied_updates
            self._count_epoch(trainer)
            self._set(LearningRateFactors.of(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        log_learning_rate(trainer, pl_module)
        if self._just_finished:
            self._just_finished = False
            factors = LearningRateFactors.of(trainer)
            rate = factors.effective(trainer.optimizers[0])[0]
            reason = f"warmup finished after {self.applied_updates} updates; the learning rate is now {rate:.4g}"
            publish(trainer, "warmup", reason, batch=batch_idx, level=logging.INFO, learning_rate=rate)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        LearningRateFactors.of(trainer).restore(trainer.optimizers)
        self._unhook()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            LearningRateFactors.of(trainer).discard("warmup")
            self._unhook()

    def state_dict(self) -> dict[str, Any]:
        before = {"epochs_before": self._epochs_before, "updates_before": self._updates_before}
        return {"updates": dict(self._updates)} | (before if self.unit == "epochs" else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._updates = dict(state_dict.get("updates", {}))
        self._epochs_before = state_dict.get("epochs_before", 0.0)
        self._updates_before = state_dict.get("updates_before", 0)

    def go_back(self, trainer: Trainer, state: dict[str, Any]) -> None:
        self.load_state_dict(state)
        self._set(LearningRateFactors.of(trainer))

    def _set(self, factors: LearningRateFactors) -> None:
        factor = warmup_factor(self._progress, self.duration, shape=self.shape, start_factor=self.start_factor)
        factors.set("warmup", factor)

    def _after_update(
        self, optimizer: Optimizer, args: Any, kwargs: Any, *, factors: LearningRateFactors, index: int
    ) -> None:
        if all(p.grad is None for group in optimizer.param_groups for p in group["params"]):
            return  # a skipped update
        before = self._progress
        self._updates[index] = self._updates.get(index, 0) + 1
        self._just_finished |= before < self.duration <= self._progress
        self._set(factors)

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _count_epoch(self, trainer: Trainer) -> None:
        if self.unit == "steps":
            return
        if math.isinf(trainer.num_training_batches):
            raise ConfigurationError(
                f"{type(self).__name__}.unit: epochs needs to know the number of training batches, which these data do"
                " not have; use unit=steps"
            )
        self._updates_per_epoch = max(1, math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches))


def warmup_factor(updates: float, duration: int, *, shape: str = "linear", start_factor: float = 0.01) -> float:
    r"""Compute the learning rate factor of the next update.

    .. math::
        f(t) = s + (1 - s) \, g\left(\min(t / N, 1)\right), \qquad
        g(x) = x \text{ (linear)}, \quad g(x) = \tfrac{1}{2} (1 - \cos \pi x) \text{ (cosine)}

    with :math:`t` updates (or epochs) already applied, duration :math:`N` and start factor :math:`s`. The first update
    uses :math:`s`; the full rate applies after :math:`N`. The linear shape equals
    ``torch.optim.lr_scheduler.LinearLR``.

    Example::

        >>> [warmup_factor(t, 4, start_factor=0.5) for t in (0, 2, 4, 9)]
        [0.5, 0.75, 1.0, 1.0]

    """
    if updates >= duration:
        return 1.0
    progress = updates / duration
    if shape == "cosine":
        progress = 0.5 * (1 - math.cos(math.pi * progress))
    return start_factor + (1 - start_factor) * progress
