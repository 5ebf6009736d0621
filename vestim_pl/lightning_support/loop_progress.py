"""Counts that Lightning's loops keep inside."""

from lightning.pytorch import Trainer

__all__ = ["set_progress", "update_is_complete"]


def update_is_complete(trainer: Trainer) -> bool:
    """Whether the last optimizer update that began has also ended.

    ``global_step`` counts updates that have ended. An error within one leaves it one short, and Lightning counts the
    beginnings only inside its loop. Tested with lightning 2.6.6.

    Example::

        >>> update_is_complete(Trainer(logger=False, enable_checkpointing=False))
        True

    """
    steps = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    return steps.ready == steps.completed


def set_progress(trainer: Trainer, epoch: int, step: int, batches: float) -> None:
    """Let a trainer that fits nothing report the progress of another run.

    ``current_epoch``, ``global_step`` and ``num_training_batches`` are read-only and come from the loops. Tested with
    lightning 2.6.6.

    Args:
        trainer: Trainer to change.
        epoch: Its ``current_epoch`` from now on.
        step: Its ``global_step`` from now on.
        batches: Its ``num_training_batches`` from now on.

    """
    loop = trainer.fit_loop
    loop.epoch_progress.current.completed = epoch
    loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = step
    loop.max_batches = batches
