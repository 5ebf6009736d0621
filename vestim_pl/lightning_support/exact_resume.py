"""Checkpoints from which a training resumes exactly, and the changes to Lightning's loops that this takes.

==========================================  ===========================================================================
checkpoint written                          resumed by Lightning alone, and what this module changes
==========================================  ===========================================================================
in ``on_train_batch_end``, no validation    exact, except within an accumulation window, whose gradients no checkpoint
due                                         holds, and after the last batch of an epoch (see `exact_after_batch`)
in ``on_train_batch_end``, validation due   leaves the validation out; `keep_validation` has it run
in a validation                             repeats a part of it; `keep_validation` has all of it run
at the end of an epoch                      exact without ``max_steps``; with ``max_steps`` Lightning ends the epoch a
                                            second time, which `resume_with_next_epoch` prevents
==========================================  ===========================================================================

All functions read or change private state of Lightning's loops. Tested with lightning 2.6.6.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Trainer

__all__ = [
    "before_first_iterator",
    "ends_within_epoch",
    "exact_after_batch",
    "in_validation",
    "is_epoch_end",
    "keep_validation",
    "resume_with_next_epoch",
    "settle_validation",
    "undo_resume_with_next_epoch",
    "validation_follows",
]

_PATCHED = "_iteration_based_training"


def exact_after_batch(trainer: Trainer) -> bool:
    """Whether a checkpoint written now, in ``on_train_batch_end``, resumes exactly.

    A callback with `keep_validation` in its ``on_save_checkpoint`` must be among the callbacks. Within an accumulation
    window no checkpoint is exact, because none holds the gradients. Nor is it after the last batch of an epoch without
    a validation: Lightning would resume with the next epoch and leave out the end of this one.
    """
    if trainer.is_last_batch:
        return validation_follows(trainer)
    return not trainer.fit_loop.epoch_loop._should_accumulate()


def before_first_iterator(trainer: Trainer, action: Callable[[], None]) -> Callable[[], None]:
    """Call a function once, right before Lightning creates the first iterator over the training data.

    No hook is called there. ``on_fit_start`` of a callback is too early, because the module may seed the generators
    again in its own ``on_fit_start``, as models of neuralforecast do.

    Args:
        trainer: Trainer that is about to fit.
        action: The function.

    Returns:
        Function that cancels the call; does nothing after it.

    """
    loop = trainer.fit_loop
    original = loop.setup_data

    def cancel() -> None:
        vars(loop).pop("setup_data", None)

    def setup_data() -> None:
        cancel()
        action()
        original()

    loop.setup_data = setup_data  # type: ignore[method-assign]
    return cancel


def ends_within_epoch(trainer: Trainer) -> bool:
    """Whether training ends after this batch, before its epoch does: by ``max_steps``, ``max_time`` or a callback.

    Lightning then counts the epoch as complete, and a checkpoint from its end resumes with the next epoch.
    """
    if trainer.is_last_batch:
        return False
    at_limit = 0 <= trainer.max_steps <= trainer.global_step
    return at_limit or (trainer.should_stop and trainer.fit_loop._can_stop_early)


def validation_follows(trainer: Trainer) -> bool:
    """Whether Lightning validates right after the batch that has just ended; call it in ``on_train_batch_end``."""
    loop: Any = trainer.fit_loop
    fetcher, progress = loop._data_fetcher, loop.epoch_loop.batch_progress.current
    at_batch_end = trainer.training and fetcher is not None and progress.processed == progress.completed + 1
    return bool(at_batch_end and loop.epoch_loop._should_check_val_fx(fetcher))


def in_validation(trainer: Trainer) -> bool:
    """Whether a training is in a validation that has batches left."""
    if not trainer.validating or trainer.state.fn != "fit":
        return False
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    return not (progress.is_last_batch and progress.current.completed == progress.current.ready)


def keep_validation(trainer: Trainer, checkpoint: dict[str, Any]) -> bool:
    """Change a checkpoint so that a resumed run starts with the validation that is due or under way.

    Lightning finishes a validation if the checkpoint says that it was written in the first batch of it, so the counters
    in the checkpoint are set to that. Several callbacks may call this for the same checkpoint.

    Args:
        trainer: The trainer that writes the checkpoint.
        checkpoint: The checkpoint, as ``on_save_checkpoint`` receives it.

    Returns:
        Whether a validation was due or under way.

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
    """Make the validation counters of a resumed run agree; call it in ``on_train_start``.

    Lightning resets the counters of the current validation only. In the totals its first batch would count twice, and
    the next checkpoint of the epoch would look like one of an unfinished validation.
    """
    total: Any = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
    total.ready = total.started = total.processed = total.completed


def is_epoch_end(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was written after all batches of an epoch and its validation."""
    fit = checkpoint.get("loops", {}).get("fit_loop", {})
    epochs = fit.get("epoch_progress", {}).get("current", {})
    last = fit.get("epoch_loop.batch_progress", {}).get("is_last_batch", False)
    return bool(last and epochs and epochs["ready"] == epochs["processed"])


def resume_with_next_epoch(trainer: Trainer) -> None:
    """Make Lightning start the next epoch when it resumes at the end of one, with ``max_steps`` too.

    With ``max_steps`` Lightning treats every checkpoint as one within an epoch. At the end of an epoch it then ends
    that epoch a second time, and every later epoch has a number too high and so another order of the data.

    Call it after ``on_load_checkpoint`` and before the loops are restored, and undo it in ``on_train_start``.
    """
    setattr(trainer.fit_loop, _PATCHED, lambda: False)


def undo_resume_with_next_epoch(trainer: Trainer) -> None:
    """Restore Lightning's own method."""
    vars(trainer.fit_loop).pop(_PATCHED, None)
