"""Check the time and memory that a training will take."""

from dataclasses import dataclass
from math import ceil

from lightning.pytorch import Trainer

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["Plan", "check_memory", "check_time", "duration", "milliseconds"]


@dataclass(frozen=True)
class Plan:
    """Length of a training, with every limit of the trainer applied.

    Attributes:
        batches: Batches an epoch, of one process.
        steps: Optimizer steps an epoch.
        epochs: Epochs of the training, fractional if a number of steps ends it; None if nothing ends it.
        validations: Validations an epoch; below 1 if not every epoch has one.
        validation_batches: Batches of a validation, of one process.
        max_steps: Steps that end it before the epochs do; else None.
        limited: Whether a limit of the trainer, not the number of windows, sets the number of batches or the end.

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


LONG_DAY = 86_400.0
FEW = 10  # least batches of an epoch after a larger stride
MARGIN = 1.2  # the time of a step varies
FULL = 0.8


def check_time(plan: Plan, step_seconds: float, validation_seconds: float, stride: int | None = None) -> Finding:
    """Estimate the time of a training with its validations; early stopping may end it sooner.

    Args:
        plan: Length of the training.
        step_seconds: Median seconds of a batch: gather, forward, backward, update.
        validation_seconds: Median seconds of a batch of validation.
        stride: ``sampling.stride`` of windows; None for streams.

    Example::

        >>> print(check_time(Plan(257, 257, 50, validations=1.0, validation_batches=20), 0.1, 0.05).evidence)
        257 batches of 100 ms make 257 optimizer steps an epoch: 26 s an epoch and 1 s for validation, 22 min for 50
        epochs

    """
    epoch, validation = plan.batches * step_seconds, plan.validations * plan.validation_batches * validation_seconds
    evidence = (
        f"{plan.batches:,} batches of {milliseconds(step_seconds)} make {plan.steps:,} optimizer steps an epoch:"
        f" {duration(epoch)} an epoch and {duration(validation)} for validation"
    )
    if plan.epochs is None:
        return Finding(
            "time", Severity.NOTE, f"{evidence}; trainer.max_epochs sets no end", (Override("trainer.max_epochs", 50),)
        )
    whole = (epoch + validation) * plan.epochs
    evidence += f", {duration(whole)} for {plan.length}"
    if whole <= LONG_DAY:
        return Finding("time", Severity.OK, evidence)
    left = LONG_DAY / MARGIN - validation * plan.epochs
    factor = ceil(epoch * plan.epochs / left) if left > 0 else 0
    if stride is not None and factor and FEW * factor <= plan.batches and not plan.limited:
        override = Override("sampling.stride", factor * stride)
    else:
        override = Override("trainer.max_epochs", max(1, int(plan.epochs * LONG_DAY / (MARGIN * whole))))
    return Finding("time", Severity.WARNING, f"{evidence}: more than a day", (override,))


def check_memory(
    peak_bytes: int | None,
    available_bytes: int | None,
    data_bytes: int,
    where: str,
    overrides: tuple[Override, ...] = (),
) -> Finding:
    """Compare the peak memory of the measured steps with the available memory.

    Args:
        peak_bytes: Peak of the process (or of the device) so far, data included; None where unknown.
        available_bytes: Memory of the machine or the device; None where unknown.
        data_bytes: Bytes of all recordings.
        where: ``memory`` or the device's name.
        overrides: Settings that make a step smaller.

    Example::

        >>> check_memory(600_000_000, 8_000_000_000, 2_400_000, "memory").evidence
        'the first steps took 600 MB of 8,000 MB memory, recordings 2.4 MB'

    """
    if peak_bytes is None:
        evidence = f"this system does not report the peak memory of a process; recordings {data_bytes / 1e6:,.1f} MB"
        return Finding("memory", Severity.OK, evidence)
    total = "" if available_bytes is None else f" of {available_bytes / 1e6:,.0f} MB"
    evidence = f"the first steps took {peak_bytes / 1e6:,.0f} MB{total} {where}, recordings {data_bytes / 1e6:,.1f} MB"
    if available_bytes is not None and peak_bytes > FULL * available_bytes:
        return Finding("memory", Severity.WARNING, evidence, overrides)
    return Finding("memory", Severity.OK, evidence)


def milliseconds(seconds: float) -> str:
    """Write the time of a step with three digits.

    Example::

        >>> milliseconds(0.00885), milliseconds(1.2449)
        ('8.85 ms', '1,240 ms')

    """
    return f"{float(f'{1e3 * seconds:.3g}'):,g} ms"


def duration(seconds: float) -> str:
    """Write seconds in a readable unit.

    Example::

        >>> [duration(seconds) for seconds in (0.25, 45, 100, 1500, 9000)]
        ['0.25 s', '45 s', '100 s', '25 min', '2.5 h']

    """
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 99.5 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
