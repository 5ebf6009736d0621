"""The position of a training, which Lightning counts in its loops. All private; tested with lightning 2.6.6."""

import math
from typing import Any

from lightning.pytorch import Trainer

__all__ = [
    "begins_training",
    "finished_batches",
    "is_logged_step",
    "next_batch_index",
    "set_progress",
    "steps_expected",
    "steps_so_far",
    "update_is_complete",
]


def steps_so_far(trainer: Trainer) -> int:
    """Optimizer steps as ``log_every_n_steps`` counts them; ``global_step`` adds up those of several optimizers."""
    return trainer.global_step // max(1, len(trainer.optimizers))


def is_logged_step(trainer: Trainer) -> bool:
    """Whether Lightning will write the values logged in the coming optimizer step, one in ``log_every_n_steps``.

    Call it before the step, so that a callback computes and reads only what is written.
    """
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return bool(every) and (steps_so_far(trainer) + 1) % every == 0


def next_batch_index(trainer: Trainer) -> int:
    """Index in the epoch of the batch that is being moved to the device, which hooks before the transfer do not get."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


def finished_batches(trainer: Trainer) -> int:
    """Number of batches of this epoch that training has finished, also right after a checkpoint was loaded."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return int(progress.processed)


def steps_expected(trainer: Trainer, epoch_steps: int) -> tuple[int, int]:
    """Return the epoch in which a training resumes, and the optimizer steps up to there if every epoch has as many.

    Call it in ``on_train_start``. A window of accumulated gradients ends with the epoch.
    """
    epochs: Any = trainer.fit_loop.epoch_progress.current
    begun = epochs.ready > epochs.processed  # else the epoch ended with its validation
    updates = math.ceil(finished_batches(trainer) / trainer.accumulate_grad_batches) if begun else 0
    return trainer.current_epoch, trainer.current_epoch * epoch_steps + updates


def update_is_complete(trainer: Trainer) -> bool:
    """Whether the last optimizer update that began has also ended.

    ``global_step`` counts updates that have ended, so an error within one leaves it one short.
    """
    steps = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    return steps.ready == steps.completed


def set_progress(trainer: Trainer, epoch: int, step: int, batches: float) -> None:
    """Let a trainer that fits nothing report another run's ``current_epoch``, ``global_step`` and batches an epoch."""
    loop = trainer.fit_loop
    loop.epoch_progress.current.completed = epoch
    loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = step
    loop.max_batches = batches


def begins_training(trainer: Trainer, stage: str) -> bool:
    """Whether ``setup`` begins a training, so that what a callback keeps of an earlier one must go.

    The same callback objects may serve several trainings, as in cross-validation. Every callback that keeps counts or
    decisions therefore calls ``self.load_state_dict({})`` in ``setup`` if this is true, which gives it the state of a
    new object. Lightning calls ``setup`` before it loads a checkpoint, so a resumed training gets its own state after
    that. A second ``fit`` of the same trainer continues the training, and the state stays.

    Args:
        trainer: The trainer.
        stage: Stage that ``setup`` was called with.

    Example::

        >>> trainer = Trainer(logger=False, enable_checkpointing=False)
        >>> begins_training(trainer, "fit"), begins_training(trainer, "validate")
        (True, False)

    """
    return stage == "fit" and trainer.global_step == 0
