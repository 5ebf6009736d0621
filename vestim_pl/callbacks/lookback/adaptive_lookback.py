"""Train on only as many steps of a window as the loss depends on, measured during training."""

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from vestim_pl.callbacks.lookback.cropping import crop_sequences
from vestim_pl.callbacks.lookback.lookback_reach import (
    StepGradient,
    disable_dropout,
    first_windows,
    gradient_of_step,
    lookback_for,
    lookback_sizes,
    relative_difference,
    smallest_sufficient,
)
from vestim_pl.errors import ConfigurationError, name_error
from vestim_pl.lightning_support.events import Event, publish
from vestim_pl.lightning_support.loop_progress import begins_training, next_batch_index
from vestim_pl.lightning_support.step_rerun import silent_copy
from vestim_pl.lightning_support.training_batches import change_training_batches, refuse_batch_iterator
from vestim_pl.settings.checks import check_integers

__all__ = ["AdaptiveLookback"]

MEASUREMENTS = 4
"""Number of latest measurements that the window must satisfy."""


class AdaptiveLookback(Callback):
    """Cut from training windows the steps that change loss and gradient by no more than rounding does.

    In a new LSTM, the influence of a step on the last output of the window falls by about the forget gate, one half,
    with every step back. Of a window of 400 steps, all but the last 60 or so contribute less than float32 can resolve,
    yet they cost as much as the others. As the network learns to remember, the number of useful steps grows, up to the
    whole window.

    The callback therefore measures this number. A copy of the module runs its own ``training_step`` on some whole
    windows of a training batch and on the same windows cut. The measurement finds the shortest cut whose loss and
    parameter gradient agree with those of the whole windows within ``tolerance``. This comparison covers both effects
    of a cut: the gradient that would have flowed further back, and the state that the missing steps would have passed
    on. Training uses a longer window: the longest of the last four measurements, plus the growth since the previous
    measurement, rounded up to the next longer length. The window stays whole if the loss needs more than 0.6 of it, or
    reads every step.

    The first measurement is at the start, the second ``every_n_steps`` later. The interval doubles, up to
    ``at_most_every_n_steps``, after each measurement that needs no more than the previous one. It halves when the
    window has to grow. While the window is whole, it is at least ten times ``every_n_steps``. Measuring affects neither
    weights, gradients and metrics nor random numbers, and runs without dropout. If training uses dropout, a cut window
    draws other masks than a whole one, with the same distribution.

    Validation, test and prediction keep the whole window. All ranks use the same length. With `LookbackWarmup`, the
    shorter window applies. Sequences that carry a state from batch to batch (streams) are refused.

    ================================ ================================================================================
    logged key                       meaning
    ================================ ================================================================================
    ``adaptive_lookback/steps``      steps of the training windows from now on
    ``adaptive_lookback/needed``     shortest sufficient length
    ``adaptive_lookback/error``      larger relative difference of loss or gradient at that length
    ================================ ================================================================================

    These are logged at each measurement. Each change of the length publishes a ``lookback`` event. If a module cannot
    be measured, for example because it cannot be copied, one event says why, and its windows stay whole.

    Args:
        full: Length of the whole window, in steps.
        tolerance: Largest relative difference of loss and gradient. The default is the rounding error of an LSTM's
            gradient in float32 (4e-7 to 9e-7 measured against float64).
        every_n_steps: Optimizer steps between the first two measurements.
        at_most_every_n_steps: Largest interval of measurements, in steps.
        windows: Number of windows to measure on, if they are the first axis of the batch; else all.
        multiple: Divisor of all lengths.
        crop: Function of a batch and a number of steps that returns the batch cut to its last steps; None for
            batches with the fields of `SequenceBatch`.

    Raises:
        ConfigurationError: If an argument is out of range, with manual optimization (``training_step`` would step the
            optimizer), if ``training_step`` takes ``dataloader_iter``, if a batch has another type and ``crop`` is
            None, or with streams.

    Example::

        >>> lookback = AdaptiveLookback(full=400)
        >>> pairs = AdaptiveLookback(full=400, crop=lambda batch, n: (batch[0][:, -n:], batch[1]))

    """

    def __init__(
        self,
        full: int,
        tolerance: float = 1e-6,
        every_n_steps: int = 10,
        at_most_every_n_steps: int = 500,
        windows: int = 32,
        multiple: int = 8,
        crop: Callable[[Any, int], Any] | None = None,
    ) -> None:
        name = type(self).__name__
        self.full, self.tolerance, self.windows, self.multiple = full, tolerance, windows, multiple
        self.every_n_steps, self.at_most_every_n_steps = every_n_steps, at_most_every_n_steps
        check_integers(self, name, full=1, every_n_steps=1, windows=1, multiple=1, at_most_every_n_steps=every_n_steps)
        if not 0 < tolerance < 1:
            raise ConfigurationError(f"{name}.tolerance: {tolerance} must lie between 0 and 1, such as 1e-6")
        self.crop = crop or partial(crop_sequences, callback=name)
        self.sizes = lookback_sizes(full, multiple)
        self.lookback: int
        self._needed: list[int]
        self._next_step: int
        self._interval: int
        self.load_state_dict({})
        self._whole: Any = None
        self._undo: Callable[[], None] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if begins_training(trainer, stage):
            self.load_state_dict({})
        if stage == "fit" and not pl_module.automatic_optimization:
            raise ConfigurationError(
                f"AdaptiveLookback: {type(pl_module).__name__} optimizes manually, so its training_step cannot be"
                " measured without changing the weights; use automatic optimization or remove the callback"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        refuse_batch_iterator(pl_module, type(self).__name__, "shortened")

        def cut(batch: Any) -> Any:
            self._whole = batch
            if trainer.global_step >= self._next_step and self.sizes and not self._gave_up:
                self._measure(trainer, pl_module, batch)
            return self.crop(batch, self.lookback)

        self._undo = change_training_batches(trainer, pl_module, cut, first=True)

    def whole_batch(self, trainer: Trainer) -> Any:
        """Return the current training batch with all its steps, on the device."""
        return trainer.strategy.batch_to_device(self._whole)

    def on_event(self, trainer: Trainer, event: Event) -> None:
        if event.kind == "rollback":  # measure the restored weights before the next step
            self._needed, self._next_step, self._interval = [], 0, self.every_n_steps

    def state_dict(self) -> dict[str, Any]:
        return {
            "full": self.full, "lookback": self.lookback, "needed": list(self._needed), "interval": self._interval,
            "next_step": self._next_step,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.get("full") != self.full:
            state_dict = {}  # no measurement of this window: measure before the next step
        self.lookback = state_dict.get("lookback", self.full)
        self._needed = list(state_dict.get("needed", []))
        self._interval = state_dict.get("interval", self.every_n_steps)
        self._next_step = state_dict.get("next_step", 0)
        self._gave_up = False  # a resumed training tries again

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._unwrap()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._unwrap()

    def _measure(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        batch_idx = next_batch_index(trainer)
        part = first_windows(batch, self.windows, self.crop)
        copied, failure = None, ""
        try:
            copied = silent_copy(trainer, pl_module)
            disable_dropout(copied)
            whole = self._run(trainer, copied, part, self.full, batch_idx)
        except Exception as error:  # a measurement must not end the training
            whole, failure = None, name_error(error)
        if not trainer.strategy.reduce_boolean_decision(not failure, all=True):
            self._give_up(trainer, pl_module, failure or "another rank could not", batch_idx)
            return
        if self._largest(trainer, relative_difference(whole, whole)) > 0:
            self._next_step = trainer.global_step + self.every_n_steps  # this batch has no finite, non-zero gradient
            return
        errors: dict[int, float] = {}

        def sufficient(length: int) -> bool:
            try:
                cut = self._run(trainer, copied, part, length, batch_idx)
            except Exception:  # the module needs whole windows, for a layer of fixed length perhaps
                cut = None
            errors[length] = self._largest(trainer, relative_difference(cut, whole))
            return errors[length] <= self.tolerance

        reached = sum(size < self.lookback for size in self.sizes)
        guess = max(0, reached - 1) if self._needed else len(self.sizes) // 2
        index = smallest_sufficient(self.sizes, sufficient, guess)
        self._apply(trainer, self.sizes[index] if index < len(self.sizes) else self.full, errors, batch_idx)

    def _run(self, trainer: Trainer, copied: Any, batch: Any, length: int, batch_idx: int) -> StepGradient | None:
        with isolate_rng():
            cut = trainer.strategy.batch_to_device(self.crop(batch, length))
            return gradient_of_step(copied, cut, batch_idx)

    def _give_up(self, trainer: Trainer, pl_module: LightningModule, failure: str, batch_idx: int) -> None:
        """Keep whole windows for the rest of the training, and report it once."""
        self.lookback, self._gave_up = self.full, True
        reason = (
            f"step {trainer.global_step}: training windows stay whole, because a step could not be measured on a copy"
            f" of {type(pl_module).__name__}: {failure}"
        )
        publish(trainer, "lookback", reason, batch=batch_idx, lookback=self.full)

    def _apply(self, trainer: Trainer, needed: int, errors: dict[int, float], batch_idx: int) -> None:
        before = self.lookback
        self._needed = [*self._needed, needed][-MEASUREMENTS:]
        self.lookback = lookback_for(self._needed, self.sizes, self.full)
        if self.lookback == self.full:  # a whole window is always right, and measuring it costs time
            self._interval = min(max(2 * self._interval, 10 * self.every_n_steps), self.at_most_every_n_steps)
        elif self.lookback > before:
            self._interval = max(self.every_n_steps, self._interval // 2)
        elif len(self._needed) > 1 and needed <= self._needed[-2]:
            self._interval = min(2 * self._interval, self.at_most_every_n_steps)
        self._next_step = trainer.global_step + self._interval
        values = {
            "adaptive_lookback/steps": float(self.lookback),
            "adaptive_lookback/needed": float(needed),
            "adaptive_lookback/error": errors.get(needed, 0.0),
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        if self.lookback != before:
            self._report(trainer, before, batch_idx, errors)

    def _report(self, trainer: Trainer, before: int, batch_idx: int, errors: dict[int, float]) -> None:
        reason = (
            f"step {trainer.global_step}: training windows keep their last {self.lookback} of {self.full} steps; the"
            f" others change loss and gradient by less than {self.tolerance:g}"
            if self.lookback < self.full
            else f"step {trainer.global_step}: training windows are whole, because all {self.full} steps matter"
        )
        level = logging.INFO if self.full in (before, self.lookback) else logging.DEBUG
        publish(
            trainer, "lookback", reason, batch=batch_idx, level=level,
            lookback=self.lookback, before=before, errors={str(size): error for size, error in errors.items()},
        )  # fmt: skip

    def _largest(self, trainer: Trainer, value: float) -> float:
        """Return the largest value of all ranks; infinite if any is NaN."""
        value = math.inf if math.isnan(value) else value
        tensor = torch.tensor(value, dtype=torch.float32, device=trainer.strategy.root_device)
        return float(trainer.strategy.reduce(tensor, reduce_op="max"))

    def _unwrap(self) -> None:
        self._whole = None
        if self._undo is not None:
            self._undo()
            self._undo = None
