"""The steps for which Lightning writes logged values."""

from lightning.pytorch import Trainer

__all__ = ["is_logged_step"]


def is_logged_step(trainer: Trainer) -> bool:
    """Whether Lightning will write the values logged in the coming optimizer step, one in ``log_every_n_steps``.

    Call it before the step, so that a callback computes and reads only what is written.
    """
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]
    steps = trainer.global_step // max(1, len(trainer.optimizers))  # Lightning counts the steps of every optimizer
    return bool(every) and (steps + 1) % every == 0
