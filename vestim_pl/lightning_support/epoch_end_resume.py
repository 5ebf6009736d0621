"""Resuming at the end of an epoch, where training is limited by steps."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer

__all__ = ["is_epoch_end", "resume_with_next_epoch", "resume_with_next_epoch_no_more"]

_METHOD = "_iteration_based_training"


def is_epoch_end(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was written when all batches of an epoch had been trained and its validation had ended.

    Example::

        >>> is_epoch_end({})
        False

    """
    fit = checkpoint.get("loops", {}).get("fit_loop", {})
    epochs = fit.get("epoch_progress", {}).get("current", {})
    last = fit.get("epoch_loop.batch_progress", {}).get("is_last_batch", False)
    return bool(last and epochs and epochs["ready"] == epochs["processed"])


def resume_with_next_epoch(trainer: Trainer) -> None:
    """Have Lightning begin the next epoch where it resumes at the end of one, with ``max_steps`` too.

    With ``max_steps`` Lightning takes every checkpoint for one within an epoch. At the end of an epoch it then ends
    that epoch a second time, and every later one has a number too high, and with it another order of the data.

    Call it after ``on_load_checkpoint`` and before the loops are restored, and take it back in ``on_train_start``.
    """
    setattr(trainer.fit_loop, _METHOD, lambda: False)


def resume_with_next_epoch_no_more(trainer: Trainer) -> None:
    """Take back `resume_with_next_epoch`."""
    vars(trainer.fit_loop).pop(_METHOD, None)
