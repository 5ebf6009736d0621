"""Keep a non-finite loss or gradient out of weights, moments and schedulers."""

import logging
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from vestim_pl.callbacks.guards.manual_steps import RawSteps
from vestim_pl.callbacks.guards.skip_budget import SkipBudget
from vestim_pl.callbacks.guards.skip_cause import find_skip_cause
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.lightning_support.batch_location import nonfinite_fields
from vestim_pl.lightning_support.buffer_copy import BufferCopy
from vestim_pl.lightning_support.clipping_pause import ClippingHold
from vestim_pl.lightning_support.events import Event, publish
from vestim_pl.lightning_support.gradient_access import require_plain_gradients
from vestim_pl.lightning_support.metric_pause import MetricShield, nonfinite_metrics
from vestim_pl.lightning_support.module_state import clear_nonfinite_extras
from vestim_pl.lightning_support.rank_agreement import log_agreed
from vestim_pl.lightning_support.recovery_request import ask_for_recovery
from vestim_pl.lightning_support.scheduler_pause import SchedulerHold
from vestim_pl.lightning_support.step_finiteness import (
    StepVerdict,
    gradient_tensors,
    judge_step,
    read_signals,
)

__all__ = ["StepGuard"]


class StepGuard(Callback):
    """Skips an optimizer step whose loss or gradient is not finite, before it reaches the weights.

    Skipped means skipped: the gradients are None, so neither weights nor moments nor weight decay move; step-wise
    schedulers do not advance (with manual optimization they are the module's: it can ask ``last_step_skipped``, also
    after the step of an optimizer from ``self.optimizers(use_pl_optimizer=False)``, which is judged too); what
    the forward pass left in buffers is undone; a carried recurrent state that went non-finite and that the module
    keeps in its checkpoint starts anew in the lanes concerned. With accumulation the whole window is skipped, since
    its gradient is one sum. Decided from the norm before clipping, because clipping spreads one NaN over all
    gradients; losses and norm are read together, one host sync an optimizer step, and agreed between all ranks. The
    norm stays in ``gradient_norm``, for a callback right after that needs it too.

    Under a gradient scaler an overflow of the gradient is the scaler's to handle: it leaves the update out and halves
    its scale. It is counted apart (``overflows``) and costs no budget, as long as the scale is above one.

    Skipping hides instability, so it has a budget. When that is used up, or when the parameters themselves are not
    finite, a callback that has ``recover_from`` (`DivergenceRecovery`) is asked; if none
    recovers, training stops. Place it before callbacks that change gradients.

    A metric that the module averages over the epoch takes the bad loss in all the same. EarlyStopping then does not
    stop, and a scheduler that reduces on its plateau is not stepped, but ModelCheckpoint ranks such an epoch last:
    leave losses that are not finite out of the metric.

    Event: ``skip``, with ``cause`` (``batch``, ``parameter``, ``loss``, ``gradient`` or ``overflow``), the ``batches``
    of the window, and their ``recordings`` where ``trainer.datamodule`` has ``locate(batch)``.

    =========================== ====================================================================================
    logged key (once an epoch)  meaning
    =========================== ====================================================================================
    ``step_guard/applied``      optimizer steps applied since the start of the training
    ``step_guard/skipped``      optimizer steps skipped for a non-finite loss or gradient
    ``step_guard/overflows``    optimizer steps left out by the gradient scaler
    =========================== ====================================================================================

    Args:
        max_skips_per_epoch: Skips allowed within one epoch; one more ends the budget.
        max_consecutive_skips: Skips allowed in a row; one more ends the budget.
        protect_buffers: Copy buffers before each step, so that a skip can undo what the forward pass did to them.

    Raises:
        ConfigurationError: If a limit is negative, or optimizer, strategy or module hide the gradients.
        DivergenceError: When the budget is used up and nothing recovers.

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
        self._hold, self._clipping = SchedulerHold(), ClippingHold()
        self._held = False
        self._raw, self._shield, self._marred_epoch = RawSteps(), MetricShield(), -1
        self._buffers: BufferCopy | None = None
        self._losses: list[tuple[int, Tensor]] = []
        self._batches: list[tuple[int, Any]] = []
        self._decided = False

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
        self._decided, self._marred_epoch = False, -1
        judge = partial(self.on_before_optimizer_step, trainer, pl_module)
        self._raw.watch(trainer, pl_module, judge, judged=lambda: self._decided)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._held:
            self._release()
        if not self._batches and self._buffers is not None:
            self._buffers.save()
        self._batches.append((batch_idx, batch))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if self._decided:
            self._losses.clear()
            self._decided = False
        self._losses.append((self._batches[-1][0] if self._batches else 0, loss.detach()))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self._decided = True
        gradients, losses = gradient_tensors(optimizer), [loss for _, loss in self._losses]
        loss, norm = read_signals(trainer, losses, gradients)
        self.gradient_norm = norm
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        verdict, reason = judge_step(loss, norm, None if scaler is None else _scale_if_bad(scaler, norm))
        self.last_step_skipped = verdict is not StepVerdict.APPLY
        if verdict is StepVerdict.APPLY:
            if gradients:
                self.applied_steps += 1
                self.budget.applied()
        elif verdict is StepVerdict.OVERFLOW and not self._batch_is_bad(trainer):
            self._count_overflow(trainer, reason)
        else:
            self._skip(trainer, pl_module, optimizer, reason)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._decided:
            self._losses.clear()
            self._batches.clear()
        if self._exhausted:
            reason, self._exhausted = self._exhausted, ""
            self.budget.reset()
            if not ask_for_recovery(trainer, pl_module, reason):
                raise DivergenceError(
                    f"{reason}. Open the rows named in the skip events, lower the learning rate, or put"
                    " DivergenceRecovery among the callbacks"
                )

    def on_event(self, trainer: Trainer, event: Event) -> None:
        if event.kind == "rollback":  # the gradients of an open window are gone, and so is what was wrong with it
            self._losses.clear()
            self._batches.clear()  # so that the next batch copies the buffers anew
            self._exhausted, self._marred_epoch = "", trainer.current_epoch
            self.budget.reset()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        counts = {"applied": self.applied_steps, "skipped": self.skipped_steps, "overflows": self.overflows}
        log_agreed(pl_module, {f"step_guard/{name}": float(count) for name, count in counts.items()})
        self._shield.lower()
        if self._marred_epoch == trainer.current_epoch:  # the mean of its losses may not be finite
            self._shield.raise_over(trainer, nonfinite_metrics(trainer, schedulers=True))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._release()
        self._shield.lower()
        self._raw.release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        counts = {"applied": self.applied_steps, "skipped": self.skipped_steps, "overflows": self.overflows}
        return counts | {"budget": self.budget.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.applied_steps = state_dict.get("applied", 0)
        self.skipped_steps = state_dict.get("skipped", 0)
        self.overflows = state_dict.get("overflows", 0)
        self.budget.load_state_dict(state_dict.get("budget", {}))

    def _release(self) -> None:
        self._held = False
        self._hold.release()
        self._clipping.release()

    def _batch_is_bad(self, trainer: Trainer) -> bool:
        """Whether the overflow came with the data of some rank, which no loss scale would mend."""
        bad = any(nonfinite_fields(batch) for _, batch in self._batches)
        return trainer.strategy.reduce_boolean_decision(bad, all=False)

    def _count_overflow(self, trainer: Trainer, reason: str) -> None:
        """Leave the gradients to the scaler, which skips the update itself, but hold the schedulers."""
        self.overflows += 1
        self._held = True
        self._hold.engage(trainer.lr_scheduler_configs)
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
        self._held = True
        self._hold.engage(trainer.lr_scheduler_configs)
        self._clipping.engage(trainer.precision_plugin)
        if self._buffers is not None:
            self._buffers.restore()
        mended = clear_nonfinite_extras(pl_module)
        self.skipped_steps, self._marred_epoch = self.skipped_steps + 1, trainer.current_epoch
        left, count = self.budget.skipped(trainer.current_epoch)
        batches = [index for index, _ in self._batches]
        where = f"epoch {trainer.current_epoch}, batch {', '.join(map(str, batches)) or '-'}"
        text = f"{where}: skipped the update, {detail}{f' ({count})' if left else ''}"
        publish(
            trainer, "skip", text, batch=_last(batches), cause=cause, batches=batches, recordings=places,
            mended=mended, skipped_steps=self.skipped_steps, applied_steps=self.applied_steps,
        )  # fmt: skip
        if not left or cause == "parameter":  # the event has told the rest
            self._exhausted = f"{where}: {count if not left else 'no skip mends parameters that are not finite'}"


def _scale_if_bad(scaler: torch.amp.GradScaler, norm: float) -> float:
    """Loss scale, read from the device only where the decision needs it."""
    return float("inf") if norm < float("inf") else scaler.get_scale()


def _last(batches: list[int]) -> int | None:
    return batches[-1] if batches else None
