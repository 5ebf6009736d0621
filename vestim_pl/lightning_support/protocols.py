"""What callbacks offer each other, by name and type.

A callback that implements one of these protocols is found by every other callback that needs it. It need not derive
from anything here: a project's own callback takes part as soon as it has the members. The protocols are checked at run
time by the presence of their members alone.

The order in which the hooks of one optimizer step run, with those of this package that matter to it:

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
    "callbacks_with",
]

P = TypeVar("P")


@runtime_checkable
class EventListener(Protocol):
    """Hears of every event of the run."""

    def on_event(self, trainer: Trainer, event: Event) -> None:
        """Called at once, in the order of the callbacks, on every rank that publishes the event."""
        ...


@runtime_checkable
class EventWatcher(Protocol):
    """Looks for certain events at every step, so that nobody else has to look for their causes."""

    watches_for: Collection[str]


@runtime_checkable
class SkipsSteps(Protocol):
    """Skips steps with a non-finite loss or gradient, and answers for such a loss."""

    skipped_steps: int


@runtime_checkable
class MeasuresGradientNorm(Protocol):
    """Measures the norm of the gradients in ``on_before_optimizer_step``."""

    gradient_norm: float | None
    """Norm in this step, None where it was not measured. Valid until the next hook that may change gradients."""


@runtime_checkable
class MeasuresParameterNorm(Protocol):
    """Measures the joint norm of parameters and buffers in ``on_train_batch_end``."""

    parameter_norm: float | None
    """Norm after this batch, None where it was not measured. Valid until the next hook that may change parameters."""


@runtime_checkable
class Recovers(Protocol):
    """Can bring a training back to a good state."""

    def recover_from(self, trainer: Trainer, pl_module: LightningModule, reason: str) -> bool:
        """Recover, at the end of a batch, on all ranks or on none.

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
    """Examines the state that a rollback is about to replace."""

    def before_rollback(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called before anything is restored."""
        ...


@runtime_checkable
class KeepsLatestState(Protocol):
    """Keeps the latest state on the disk, and has to learn of a rollback."""

    def write_anew(self, trainer: Trainer) -> None:
        """Replace the file by the state now in place; it may hold the state that the rollback has just left.

        Called at the end of a batch or of a validation, before the hooks of checkpoint callbacks, or in
        ``on_exception``, when no other moment will come.
        """
        ...


@runtime_checkable
class Rewinds(Protocol):
    """Has state that belongs to the weights, such as a count of updates, and returns to an earlier one with them."""

    def go_back(self, trainer: Trainer, state: dict[str, Any]) -> None:
        """Take the state that ``state_dict`` gave when the snapshot was taken."""
        ...


@runtime_checkable
class ShortensWindows(Protocol):
    """Shortens the windows of training batches, and keeps the whole batch at hand."""

    def whole_batch(self, trainer: Trainer) -> Any:
        """The present batch with all steps of its windows."""
        ...


@runtime_checkable
class LocatesBatches(Protocol):
    """A data module that knows where the rows of a batch come from."""

    def locate(self, batch: Any) -> Sequence[dict[str, Any]]:
        """One entry a row of the batch: recording, times."""
        ...


def callbacks_with(trainer: Trainer, protocol: type[P]) -> list[P]:
    """Every callback of the trainer that implements a protocol, in their order.

    Example::

        >>> class Recovery:
        ...     def recover_from(self, trainer, pl_module, reason):
        ...         return True
        >>> class Trainer:
        ...     callbacks = [object(), Recovery()]
        >>> len(callbacks_with(Trainer(), Recovers))
        1

    """
    return [callback for callback in trainer.callbacks if isinstance(callback, protocol)]  # type: ignore[attr-defined]
