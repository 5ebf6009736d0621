"""Train on no more steps of a window than the loss depends on, as measured on the way."""

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

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
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.events import Event, publish
from vestim_pl.lightning_support.lookback import crop_sequences
from vestim_pl.lightning_support.step_rerun import silent_copy
from vestim_pl.lightning_support.training_batches import change_training_batches

__all__ = ["AdaptiveLookback"]

MEASUREMENTS = 4
"""Measurements that the window is long enough for."""


class AdaptiveLookback(Callback):
    """Leaves out of a training window the steps that change neither loss nor gradient by more than rounding does.

    In a fresh LSTM the influence of a step on the window's last output falls by about the forget gate, a half, with
    every step back: of a window of 400 steps all but the last 60 or so contribute less than float32 can tell, and they
    cost as much as the others. As the network learns to remember, that number grows, up to the whole window.

    So the number is measured. A copy of the module runs its own ``training_step`` on some whole windows of a training
    batch and on the same windows cut, and the shortest cut whose loss and parameter gradient agree with the whole to
    ``tolerance`` is searched. That comparison covers all there is to lose: the gradient that would have flowed further
    back, and the state that the left-out steps would have handed on. Training takes more: the longest of the last four
    measurements, what it grew since the one before, and the next longer length as a margin. A network whose loss needs
    more than 0.6 of the window, or a loss that reads every step of it, gets the whole.

    Measured at the start and then ``every_n_steps``; the interval doubles, up to ``at_most_every_n_steps``, with each
    measurement that asks for no more than the one before, and halves when the window has to grow; while the window is
    whole it is ten times ``every_n_steps`` or more. Measuring touches neither weights, gradients and metrics nor random
    numbers, and dropout is off in it. With dropout in training the masks drawn for a cut window are others than for a
    whole one: equal in distribution, not number by number.

    Validation, test and prediction keep the whole window. Windows of different ranks are of one length. With
    `LookbackWarmup` the shorter of the two windows counts. Sequences that carry a state
    from batch to batch (streams) are refused.

    ================================ ================================================================================
    logged key                       meaning
    ================================ ================================================================================
    ``adaptive_lookback/steps``      steps of the training windows from here on
    ``adaptive_lookback/needed``     shortest length that sufficed
    ``adaptive_lookback/error``      relative difference of loss or gradient, the larger, at that length
    ================================ ================================================================================

    They go to the loggers at each measurement. Each change of the length is a ``lookback`` event.

    Args:
        full: Steps of the whole window.
        tolerance: Largest relative difference of loss and gradient. 1e-6 is what float32 itself leaves of the gradient
            of an LSTM against float64 (4e-7 to 9e-7 measured).
        every_n_steps: Optimizer steps to the second measurement.
        at_most_every_n_steps: Most steps from one to the next.
        windows: Windows of the batch to measure on, where batches have the windows as first axis; else all.
        multiple: Lengths are multiples of it.
        crop: Function of a batch and a number of steps that returns the batch cut to its last steps; None for
            batches with the fields of `SequenceBatch`.

    Raises:
        ConfigurationError: If an argument is out of range, with manual optimization (``training_step`` would step the
            optimizer), if a batch is of another kind and ``crop`` is None, or with streams.

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
        for key, count in (("full", full), ("every_n_steps", every_n_steps), ("windows", windows)):
            if count < 1:
                raise ConfigurationError(f"{name}.{key}: {count} must be at least 1")
        if multiple < 1:
            raise ConfigurationError(f"{name}.multiple: {multiple} must be at least 1")
        if at_most_every_n_steps < every_n_steps:
            raise ConfigurationError(
                f"{name}.at_most_every_n_steps: {at_most_every_n_steps} is less than every_n_steps={every_n_steps}"
            )
        if not 0 < tolerance < 1:
            raise ConfigurationError(f"{name}.tolerance: {tolerance} must lie between 0 and 1, such as 1e-6")
        self.full = full
        self.tolerance = tolerance
        self.every_n_steps = every_n_steps
        self.at_most_every_n_steps = at_most_every_n_steps
        self.windows = windows
        self.crop = crop or partial(crop_sequences, callback=name)
        self.sizes = lookback_sizes(full, multiple)
        self.lookback = full
        self._needed: list[int] = []
        self._next_step = 0
        self._interval = every_n_steps
        self._whole: Any = None
        self._undo: Callable[[], None] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and not pl_module.automatic_optimization:
            raise ConfigurationError(
                f"AdaptiveLookback: {type(pl_module).__name__} optimizes manually, so its training_step cannot be run"
                " aside; use automatic optimization or leave the callback out"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def cut(batch: Any) -> Any:
            self._whole = batch
            if trainer.global_step >= self._next_step and self.sizes:
                self._measure(trainer, pl_module, batch)
            return self.crop(batch, self.lookback)

        self._undo = change_training_batches(trainer, pl_module, cut, first=True)

    def whole_batch(self, trainer: Trainer) -> Any:
        """The batch in training with all its steps, on the device."""
        return trainer.strategy.batch_to_device(self._whole)

    def on_event(self, trainer: Trainer, event: Event) -> None:
        if event.kind == "rollback":  # to weights that were measured long ago, or never
            self.forget()

    def forget(self) -> None:
        """Measure anew before the next step, as after weights were loaded."""
        self._needed, self._next_step, self._interval = [], 0, self.every_n_steps

    def state_dict(self) -> dict[str, Any]:
        return {
            "full": self.full, "lookback": self.lookback, "needed": list(self._needed), "interval": self._interval,
            "next_step": self._next_step,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.get("full") != self.full:
            return  # measured with another window, or by nobody: measure before the next step
        self.lookback = state_dict["lookback"]
        self._needed = list(state_dict["needed"])
        self._interval = state_dict["interval"]
        self._next_step = state_dict["next_step"]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._unwrap()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._unwrap()

    def _measure(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        """Find the window for the steps to come, and when to look again."""
        batch_idx = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        part = first_windows(batch, self.windows, self.crop)
        aside = silent_copy(trainer, pl_module)
        disable_dropout(aside)

        def run(length: int) -> StepGradient | None:
            with isolate_rng():
                cut = trainer.strategy.batch_to_device(self.crop(part, length))
                return gradient_of_step(aside, cut, batch_idx)

        whole = run(self.full)
        if self._largest(trainer, relative_difference(whole, whole)) > 0:
            self._next_step = trainer.global_step + self.every_n_steps  # this batch tells nothing
            return
        errors: dict[int, float] = {}

        def sufficient(length: int) -> bool:
            errors[length] = self._largest(trainer, relative_difference(run(length), whole))
            return errors[length] <= self.tolerance

        reached = sum(size < self.lookback for size in self.sizes)
        guess = max(0, reached - 1) if self._needed else len(self.sizes) // 2
        index = smallest_sufficient(self.sizes, sufficient, guess)
        self._apply(trainer, self.sizes[index] if index < len(self.sizes) else self.full, errors, batch_idx)

    def _apply(self, trainer: Trainer, needed: int, errors: dict[int, float], batch_idx: int) -> None:
        before = self.lookback
        self._needed = [*self._needed, needed][-MEASUREMENTS:]
        self.lookback = lookback_for(self._needed, self.sizes, self.full)
        if self.lookback == self.full:  # nothing can be wrong with it; looking costs time and may find nothing
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
            self._tell(trainer, before, batch_idx, errors)

    def _tell(self, trainer: Trainer, before: int, batch_idx: int, errors: dict[int, float]) -> None:
        reason = (
            f"step {trainer.global_step}: training windows keep their last {self.lookback} of {self.full} steps; the"
            f" others change loss and gradient by less than {self.tolerance:g}"
            if self.lookback < self.full
            else f"step {trainer.global_step}: training windows are whole, as all {self.full} steps matter"
        )
        told = self.full in (before, self.lookback)  # what lies between is for the files
        publish(
            trainer, "lookback", reason, batch=batch_idx, level=logging.INFO if told else logging.DEBUG,
            lookback=self.lookback, before=before, errors={str(size): error for size, error in errors.items()},
        )  # fmt: skip

    def _largest(self, trainer: Trainer, value: float) -> float:
        """Largest value of all ranks; infinite where one is NaN."""
        value = math.inf if math.isnan(value) else value
        tensor = torch.tensor(value, dtype=torch.float32, device=trainer.strategy.root_device)
        return float(trainer.strategy.reduce(tensor, reduce_op="max"))

    def _unwrap(self) -> None:
        self._whole = None
        if self._undo is not None:
            self._undo()
            self._undo = None
