"""Checkpoints between a batch and the end of the validation after it: resumed, the validation runs in whole."""

from typing import Any

from lightning.pytorch import Trainer

__all__ = ["in_validation", "keep_validation", "settle_validation", "validation_follows"]


def validation_follows(trainer: Trainer) -> bool:
    """Whether Lightning validates right after the batch that has just ended; to be asked in ``on_train_batch_end``.

    Example::

        >>> validation_follows(Trainer(logger=False, enable_checkpointing=False))
        False

    """
    loop: Any = trainer.fit_loop
    fetcher, progress = loop._data_fetcher, loop.epoch_loop.batch_progress.current
    at_batch_end = trainer.training and fetcher is not None and progress.processed == progress.completed + 1
    return bool(at_batch_end and loop.epoch_loop._should_check_val_fx(fetcher))


def in_validation(trainer: Trainer) -> bool:
    """Whether a training stands in a validation that has batches left.

    Example::

        >>> in_validation(Trainer(logger=False, enable_checkpointing=False))
        False

    """
    if not trainer.validating or trainer.state.fn != "fit":
        return False
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    return not (progress.is_last_batch and progress.current.completed == progress.current.ready)


def keep_validation(trainer: Trainer, checkpoint: dict[str, Any]) -> bool:
    """Change a checkpoint so that a run that resumes from it starts with the validation that is due; once or often.

    Lightning leaves out the validation after a batch when it resumes from a checkpoint of that batch's end, and of a
    checkpoint from within a validation it repeats a part. But it does finish a validation in whose first batch the
    checkpoint says it was written: so that is what the checkpoint says.

    Args:
        trainer: The trainer that writes the checkpoint.
        checkpoint: What it is about to write, as ``on_save_checkpoint`` gets it.

    Returns:
        Whether a validation was due.

    """
    if not (in_validation(trainer) or validation_follows(trainer)):
        return False
    loops = checkpoint["loops"]["fit_loop"]
    batches, validation = loops["epoch_loop.batch_progress"], loops["epoch_loop.val_loop.batch_progress"]
    done = validation["total"]["completed"] - (validation["current"]["completed"] if trainer.validating else 0)
    for counts in (batches["total"], batches["current"]):
        counts["completed"] = counts["processed"]
    validation["total"] = {"ready": done + 1, "started": done + 1, "processed": done, "completed": done}
    validation["current"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    validation["is_last_batch"] = False
    return True


def settle_validation(trainer: Trainer) -> None:
    """Let the counts of a resumed validation agree again; to be called in ``on_train_start``.

    Lightning resets those of the running validation alone. In the totals its first batch would count twice, and the
    next checkpoint of the epoch would seem to be of another unfinished validation.
    """
    total: Any = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
    total.ready = total.started = total.processed = total.completed
