"""The work of a training: batches, steps, epochs and validations."""

from dataclasses import dataclass

from lightning.pytorch import Trainer

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """Work of a training, with every limit of the trainer applied.

    Attributes:
        batches: Batches an epoch, of one process.
        steps: Optimizer steps an epoch.
        epochs: Epochs of the training, fractional if a number of steps ends it; None without an end.
        validations: Validations an epoch; below 1 if not every epoch has one.
        validation_batches: Batches of a validation, of one process.
        max_steps: Steps that end it before the epochs do; else None.
        limited: Whether a limit of the trainer, not the number of windows, sets the batches or the end.

    """

    batches: int
    steps: int
    epochs: float | None
    validations: float = 0.0
    validation_batches: int = 0
    max_steps: int | None = None
    limited: bool = False

    @classmethod
    def of(cls, trainer: Trainer, batches: int, validation_batches: int, processes: int = 1) -> "Plan":
        """Compute the plan of a trainer.

        Args:
            trainer: Has the limits; for a single process.
            batches: Batches of the training split.
            validation_batches: Batches of the validation split.
            processes: Processes that share the batches.

        Example::

            >>> trainer = Trainer(max_epochs=9, max_steps=30, limit_train_batches=5, logger=False, accelerator="cpu")
            >>> plan = Plan.of(trainer, batches=100, validation_batches=7)
            >>> plan.steps, plan.epochs, plan.length
            (5, 6.0, '30 steps')

        """
        train, validation = trainer.limit_train_batches, trainer.limit_val_batches
        here = _limited(-(-batches // processes), train)
        steps = max(1, -(-here // trainer.accumulate_grad_batches))
        epochs: float | None = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        by_steps = trainer.max_steps / steps if trainer.max_steps > 0 else None
        ends = by_steps is not None and (epochs is None or by_steps < epochs)
        return cls(
            batches=here,
            steps=steps,
            epochs=by_steps if ends else epochs,
            validations=_validations(trainer, here),
            validation_batches=_limited(-(-validation_batches // processes), validation),
            max_steps=trainer.max_steps if ends else None,
            limited=ends or here < -(-batches // processes),
        )

    @property
    def length(self) -> str:
        """Length of the training in words."""
        return f"{self.epochs:,.0f} epochs" if self.max_steps is None else f"{self.max_steps:,} steps"


def _limited(batches: int, limit: float | None) -> int:
    """Apply a limit as Lightning does: an int is a number of batches, a float a fraction of them."""
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _validations(trainer: Trainer, batches: int) -> float:
    """Validations an epoch, from the intervals in batches and epochs."""
    interval, every = trainer.val_check_interval, trainer.check_val_every_n_epoch
    between = interval if isinstance(interval, int) else int(batches * float(interval))
    if every is None:
        return batches / max(1, between)
    return max(1, batches) // max(1, between) / every
