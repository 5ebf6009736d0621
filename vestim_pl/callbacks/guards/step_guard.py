"""Keep a non-finite loss or gradient out of weights, optimizer state and schedulers."""

import logging
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import LBFGS, Optimizer
from torch.utils.hooks import RemovableHandle

from vestim_pl.callbacks.guards.skip_budget import SkipBudget
from vestim_pl.callbacks.guards.skip_cause import find_skip_cause
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.lightning_support.events import Event, publish
from vestim_pl.lightning_support.gradient_access import let_backward_pass, refuse_raw_steps, require_plain_gradients
from vestim_pl.lightning_support.logged_metrics import log_agreed, nonfinite_metrics
from vestim_pl.lightning_support.loop_progress import begins_training
from vestim_pl.lightning_support.module_state import clear_nonfinite_extras
from vestim_pl.lightning_support.pauses import ClippingPause, MetricPause, SchedulerPause
from vestim_pl.lightning_support.precision import gradient_scaler
from vestim_pl.lightning_support.protocols import ask_for_recovery
from vestim_pl.lightning_support.step_finiteness import StepVerdict, gradient_tensors, judge_step, read_signals
from vestim_pl.lightning_support.tensors import BufferCopy
from vestim_pl.lightning_support.training_batches import nonfinite_fields, taken_batch, takes_batches_itself

__all__ = ["StepGuard"]


class StepGuard(Callback):
    """Skips an optimizer step if its loss or gradient is non-finite, before it changes the weights.

    A loss that needs no gradient is as bad as a non-finite one: some loss functions replace a NaN by a constant, which
    would end the training in the backward pass.

    A skip sets the gradients to None, so weights, moments and weight decay stay as they are. Schedulers that step with
    the optimizer do not advance; with manual optimization the module steps them itself and can check
    ``last_step_skipped``. What the forward pass changed in buffers is undone. If the module keeps a carried recurrent
    state in its checkpoint, non-finite lanes of it are reset. With gradient accumulation the whole window is skipped,
    because its gradient is one sum.

    The decision uses the norm before clipping, because clipping spreads one NaN over all gradients. Losses and norm are
    read together, with one host sync an optimizer step, and all ranks decide alike. The norm stays in
    ``gradient_norm`` for a callback that runs right after this one.

    Under a gradient scaler, an overflow of the gradient is left to the scaler, which leaves out the update and halves
    its scale. Overflows are counted apart (``overflows``) and use no budget while the scale is above one.

    Skipping hides instability, so it has a budget. When the budget is used up, or the parameters themselves are
    non-finite, callbacks that implement ``recover_from`` (`DivergenceRecovery`) are asked to recover. If they do not,
    training stops. Place this callback before callbacks that change gradients.

    A metric that the module averages over the epoch still includes a non-finite loss. EarlyStopping then does not stop
    the run and a scheduler that reduces the rate on a plateau is not stepped, but ModelCheckpoint ranks such an epoch
    last. Leave non-finite losses out of the metric to avoid this.

    Event: ``skip``, with ``cause`` (``batch``, ``parameter``, ``loss``, ``gradient`` or ``overflow``), the ``batches``
    of the window, and their ``recordings`` if ``trainer.datamodule`` has ``locate(batch)``.

    =========================== ====================================================================================
    logged key (once an epoch)  meaning
    =========================== ====================================================================================
    ``step_guard/applied``      optimizer steps applied since the start of the training
    ``step_guard/skipped``      optimizer steps skipped for a non-finite loss or gradient
    ``step_guard/overflows``    optimizer steps left out by the gradient scaler
    =========================== ====================================================================================

    Args:
        max_skips_per_epoch: Skips tolerated within one epoch; one more uses up the budget.
        max_consecutive_skips: Skips tolerated in a row; one more uses up the budget.
        protect_buffers: Copy buffers before each step, so that a skip can restore them.

    Raises:
        ConfigurationError: If a limit is negative, if optimizer or strategy hide the gradients, or if the module steps
            an optimizer from ``self.optimizers(use_pl_optimizer=False)``.
        DivergenceError: When the budget is used up and no callback recovers.

    Example::

        >>> guard = StepGuard(max_skips_per_epoch=20, max_consecutive_skips=3)
        >>> guard.skipped_steps
        0

    """

    watches_for = ("skip",)

    def __init__(
        self, max_skips_per_epoch: int = 20, max_consecutive_skips: int = 5, protect_buffers: bool = True
    ) -> None:
        self.budget = SkipBudget(max_skips_per_epoch, max_consecutive_skips)
        self.protect_buffers = protect_buffers
        self.applied_steps = 0
        self.skipped_steps = 0
        self.overflows = 0
        self.last_step_skipped = False
        self.gradient_norm: float | None = None  # of this step, for the callback right after
        self._exhausted = ""
        self._schedulers, self._clipping, self._metrics = SchedulerPause(), ClippingPause(), MetricPause()
        self._paused = False
        self._hooks: list[RemovableHandle] = []
        self._epoch_of_last_skip = -1
        self._buffers: BufferCopy | None = None
        self._losses: list[tuple[int, Tensor]] = []
        self._has_constant_loss = False  # in this window
        self._batches: list[tuple[int, Any]] = []
        self._decided = self._in_batch = self._takes_iterator = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if begins_training(trainer, stage):
            self.load_state_dict({})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_plain_gradients(trainer, "StepGuard")
        if any(isinstance(optimizer, LBFGS) for optimizer in trainer.optimizers):
            raise ConfigurationError(
                "StepGuard: LBFGS evaluates several losses a step, so there is no one step to skip;"
                " use another optimizer or leave the callback out"
            )
        self._buffers = BufferCopy(pl_module) if self.protect_buffers else None
        self._losses.clear()
        self._batches.clear()
        self._has_constant_loss = False
        self._decided, self._epoch_of_last_skip = False, -1
        self._in_batch, self._takes_iterator = False, takes_batches_itself(pl_module)
        self._hooks = refuse_raw_steps(trainer, pl_module, "StepGuard", seen=lambda: self._decided)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._paused:
            self._end_pauses()
        if self._in_batch and self._batches:  # the module's own hook has skipped the batch before
            self._batches.pop()
        self._in_batch = True
        if not self._batches and self._buffers is not None:
            self._buffers.save()
        self._batches.append((batch_idx, batch))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.automatic_optimization:  # drops a window that the module has left unfinished
            self._losses.clear()
            self._batches.clear()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if self._decided:
            self._losses.clear()
            self._decided = False
        if self._takes_iterator and self._batches:
            self._batches[-1] = taken_batch(trainer)
        value = loss.detach()
        if not loss.requires_grad:
            self._has_constant_loss = True
            let_backward_pass(loss, pl_module.parameters())
            value = torch.full_like(value, torch.nan)  # so that every rank skips the step
        self._losses.append((self._batches[-1][0] if self._batches else 0, value))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self._decided = True
        gradients, losses = gradient_tensors(optimizer), [loss for _, loss in self._losses]
        loss, norm = read_signals(trainer, losses, gradients)
        self.gradient_norm = norm
        scaler = gradient_scaler(trainer)
        verdict, reason = judge_step(loss, norm, None if scaler is None else _scale_if_bad(scaler, norm))
        self.last_step_skipped = verdict is not StepVerdict.APPLY
        if verdict is StepVerdict.APPLY:
            if gradients:
                self.applied_steps += 1
                self.budget.applied()
        elif verdict is StepVerdict.OVERFLOW and not self._batch_is_bad(trainer):
            self._count_overflow(trainer, reason)
        else:
            if self._has_constant_loss:
                reason, self._has_constant_loss = "the loss is a constant without a gradient", False
            self._skip(trainer, pl_module, optimizer, reason)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._in_batch = False
        if self._decided:
            self._losses.clear()
            self._batches.clear()
        if self._exhausted:
            reason, self._exhausted = self._exhausted, ""
            self.budget.reset()
            if not ask_for_recovery(trainer, pl_module, reason):
                raise DivergenceError(
                    f"{reason}. Check the rows named in the skip events, lower the learning rate, or add"
                    " DivergenceRecovery to the callbacks"
                )

    def on_event(self, trainer: Trainer, event: Event) -> None:
        if event.kind == "rollback":  # it has dropped the gradients of an open window, and what was wrong with them
            self._losses.clear()
            self._batches.clear()  # so that the next batch copies the buffers again
            self._has_constant_loss = False
            self._exhausted, self._epoch_of_last_skip = "", trainer.current_epoch
            self.budget.reset()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        log_agreed(pl_module, {f"step_guard/{name}": float(count) for name, count in self._counts().items()})
        self._metrics.stop()
        if self._epoch_of_last_skip == trainer.current_epoch:  # the mean of its losses may be non-finite
            self._metrics.start(trainer, nonfinite_metrics(trainer, schedulers=True))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_pauses()
        self._metrics.stop()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return self._counts() | {"budget": self.budget.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.applied_steps = state_dict.get("applied", 0)
        self.skipped_steps = state_dict.get("skipped", 0)
        self.overflows = state_dict.get("overflows", 0)
        self.budget.load_state_dict(state_dict.get("budget", {}))

    def _counts(self) -> dict[str, Any]:
        return {"applied": self.applied_steps, "skipped": self.skipped_steps, "overflows": self.overflows}

    def _end_pauses(self) -> None:
        self._paused = False
        self._schedulers.stop()
        self._clipping.stop()

    def _batch_is_bad(self, trainer: Trainer) -> bool:
        """Whether the data of any rank caused the overflow, which no loss scale would fix."""
        bad = any(nonfinite_fields(batch) for _, batch in self._batches)
        return trainer.strategy.reduce_boolean_decision(bad, all=False)

    def _count_overflow(self, trainer: Trainer, reason: str) -> None:
        """Leave the gradients to the scaler, which leaves out the update, and pause the schedulers."""
        self.overflows += 1
        self._paused = True
        self._schedulers.start(trainer.lr_scheduler_configs)
        batches = [index for index, _ in self._batches]
        text = f"epoch {trainer.current_epoch}, batch {batches[-1] if batches else '-'}: {reason}; the scaler lowers it"
        publish(
            trainer, "skip", text, batch=_last(batches), level=logging.INFO, cause=StepVerdict.OVERFLOW.value,
            batches=batches,
        )  # fmt: skip

    def _skip(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, reason: str) -> None:
        cause, detail, places = find_skip_cause(trainer, pl_module, reason, self._losses, self._batches)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        self._paused = True
        self._schedulers.start(trainer.lr_scheduler_configs)
        self._clipping.start(trainer.precision_plugin)
        if self._buffers is not None:
            self._buffers.restore()
        cleared = clear_nonfinite_extras(pl_module)
        self.skipped_steps, self._epoch_of_last_skip = self.skipped_steps + 1, trainer.current_epoch
        left, count = self.budget.skipped(trainer.current_epoch)
        batches = [index for index, _ in self._batches]
        where = f"epoch {trainer.current_epoch}, batch {', '.join(map(str, batches)) or '-'}"
        text = f"{where}: skipped the update, {detail}{f' ({count})' if left else ''}"
        publish(
            trainer, "skip", text, batch=_last(batches), cause=cause, batches=batches, recordings=places,
            mended=cleared, skipped_steps=self.skipped_steps, applied_steps=self.applied_steps,
        )  # fmt: skip
        if not left:
            self._exhausted = f"{where}: {count}"
        elif cause == "parameter":
            self._exhausted = f"{where}: parameters are already non-finite; skipping steps cannot recover them"


def _scale_if_bad(scaler: torch.amp.GradScaler, norm: float) -> float:
    """The loss scale, read from the device only if the decision depends on it."""
    return float("inf") if norm < float("inf") else scaler.get_scale()


def _last(batches: list[int]) -> int | None:
    return batches[-1] if batches else None
