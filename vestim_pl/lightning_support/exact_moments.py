"""The moments at which a checkpoint resumes as if training had never stopped."""

from lightning.pytorch import Trainer

__all__ = ["ends_within_epoch", "exact_after_batch"]


def exact_after_batch(trainer: Trainer) -> bool:
    """Whether a checkpoint written at the end of this batch, in ``on_train_batch_end``, resumes exactly.

    It does not within an accumulation window, whose gradients are in no checkpoint; nor where a validation follows,
    which Lightning leaves out when it resumes; nor after the last batch of an epoch, for the same reason.
    """
    epoch = trainer.fit_loop.epoch_loop
    if trainer.is_last_batch or epoch._should_accumulate():
        return False
    fetcher = trainer.fit_loop._data_fetcher
    return ends_within_epoch(trainer) or fetcher is None or not epoch._should_check_val_fx(fetcher)


def ends_within_epoch(trainer: Trainer) -> bool:
    """Whether training ends after this batch, before its epoch does: by ``max_steps``, ``max_time`` or a callback.

    Lightning then counts the epoch as done, and a checkpoint from its end would resume with the next one.
    """
    if trainer.is_last_batch:
        return False
    at_limit = 0 <= trainer.max_steps <= trainer.global_step
    return at_limit or (trainer.should_stop and trainer.fit_loop._can_stop_early)
