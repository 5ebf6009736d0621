"""What callbacks offer each other, as protocols.

A callback that implements one of these protocols is found by every other callback that needs it. A project's own
callback only needs the members; it need not derive from the protocol. At run time, only the presence of the members is
checked.

The hooks of one optimizer step run in this order, with the callbacks of this package that use them:

.. code-block:: text

    on_train_batch_start      StepGuard copies buffers; CrashBundle opens its window; DivergenceRecovery sets its factor
      training_step
      on_before_backward        StepGuard and CrashBundle keep the loss
      backward
      on_after_backward
      [fp16: the gradient scaler unscales the gradients here]
      on_before_optimizer_step  in the order of the callbacks:
                                  CrashBundle, GradientNormMonitor   read the gradient
                                  StepGuard                          measures its norm, decides, clears a bad gradient
                                  AdaptiveGradientClipping           uses that norm and clips
                                  GradientNoise                      adds noise
      configure_gradient_clipping   Lightning clips by trainer.gradient_clip_val
      optimizer.step            the learning rate factors are multiplied in before the update and taken out after it
      [scheduler.step for interval "step"]
    on_train_batch_end          in the order of the callbacks:
                                  FiniteParameterGuard               measures the norm of the parameters
                                  DivergenceRecovery                 uses that norm, judges the loss, may roll back
    [on_validation_end]         DivergenceRecovery, PlateauLearningRate, then EarlyStopping, then checkpoints
    [on_train_epoch_end]        logs; checkpoints last

fp32 and bf16 run everything from ``training_step`` to the clipping inside ``optimizer.step(closure)``. With fp16 the
closure runs first, then the scaler unscales, and the scaler calls ``optimizer.step`` only if no gradient overflowed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from lightning.pytorch import LightningModule, Trainer

if TYPE_CHECKING:
    from vestim_pl.lightning_support.events import Event

__all__ = [
    "BeforeRollback",
    "EventListener",
    "EventWatcher",
    "KeepsLatestState",
    "LocatesBatches",
    "MeasuresGradientNorm",
    "MeasuresParameterNorm",
    "Recovers",
    "Rewinds",
    "ShortensWindows",
    "SkipsSteps",
    "ask_for_recovery",
    "callbacks_with",
]

P = TypeVar("P")


@runtime_checkable
class EventListener(Protocol):
    """Receives every event of the run."""

    def on_event(self, trainer: Trainer, event: Event) -> None:
        """Called immediately, in the order of the callbacks, on every rank that publishes the event."""
        ...


@runtime_checkable
class EventWatcher(Protocol):
    """Detects certain events at every step, so that other callbacks need not check for their causes."""

    watches_for: Collection[str]


@runtime_checkable
class SkipsSteps(Protocol):
    """Skips steps with a non-finite loss or gradient, so that other callbacks can ignore such a loss."""

    skipped_steps: int


@runtime_checkable
class MeasuresGradientNorm(Protocol):
    """Measures the norm of the gradients in ``on_before_optimizer_step``."""

    gradient_norm: float | None
    """Norm in this step; None if it was not measured. Valid until the next hook that may change gradients."""


@runtime_checkable
class MeasuresParameterNorm(Protocol):
    """Measures the joint norm of parameters and buffers in ``on_train_batch_end``."""

    parameter_norm: float | None
    """Norm after this batch; None if it was not measured. Valid until the next hook that may change parameters."""


@runtime_checkable
class Recovers(Protocol):
    """Can return a training to a good state."""

    def recover_from(self, trainer: Trainer, pl_module: LightningModule, reason: str) -> bool:
        """Recover at the end of a batch, on all ranks or on none.

        Args:
            trainer: The trainer.
            pl_module: The module in training.
            reason: What went wrong, where and when, in few words and without a full stop.

        Returns:
            Whether it recovered.

        """
        ...


@runtime_checkable
class BeforeRollback(Protocol):
    """Inspects the state that a rollback is about to replace."""

    def before_rollback(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called before anything is restored."""
        ...


@runtime_checkable
class KeepsLatestState(Protocol):
    """Keeps a file of the latest state, which a rollback makes wrong."""

    def rewrite_file(self, trainer: Trainer) -> None:
        """Replace the file, which may hold a state that the rollback has undone.

        Called at the end of a batch or validation, before the hooks of checkpoint callbacks, or in ``on_exception``,
        after which there is no later moment.
        """
        ...


@runtime_checkable
class Rewinds(Protocol):
    """Has state that belongs to the weights, such as a count of updates, and goes back with them."""

    def go_back(self, trainer: Trainer, state: dict[str, Any]) -> None:
        """Load the state that ``state_dict`` returned when the snapshot was taken."""
        ...


@runtime_checkable
class ShortensWindows(Protocol):
    """Shortens the windows of training batches and keeps the whole batch."""

    def whole_batch(self, trainer: Trainer) -> Any:
        """Return the current batch with all steps of its windows."""
        ...


@runtime_checkable
class LocatesBatches(Protocol):
    """A data module that knows the recordings of the rows of a batch."""

    def locate(self, batch: Any) -> Sequence[dict[str, Any]]:
        """Return one entry for each row of the batch: recording and times."""
        ...


def callbacks_with(trainer: Trainer, protocol: type[P]) -> list[P]:
    """List the callbacks of the trainer that implement a protocol, in order."""
    return [callback for callback in trainer.callbacks if isinstance(callback, protocol)]  # type: ignore[attr-defined]


def ask_for_recovery(trainer: Trainer, pl_module: LightningModule, reason: str) -> bool:
    """Ask the callbacks that implement `Recovers`, in order, until one recovers; returns whether one did.

    Call it on all ranks or on none, and at the end of a batch, because the state changes within an optimizer step.
    ``reason`` becomes part of the rollback's message: give it no full stop.
    """
    return any(callback.recover_from(trainer, pl_module, reason) for callback in callbacks_with(trainer, Recovers))
