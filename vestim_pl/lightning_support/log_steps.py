"""At which steps a value is worth computing for the log."""

from lightning.pytorch import Trainer

__all__ = ["is_logged_step"]


def is_logged_step(trainer: Trainer) -> bool:
    """Whether Lightning will write what the optimizer step about to be made logs; True every ``log_every_n_steps``.

    Asked before the step. With it a callback computes, and brings to the host, only what is written.
    """
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]
    steps = trainer.global_step // max(1, len(trainer.optimizers))  # Lightning counts the steps of every optimizer
    return bool(every) and (steps + 1) % every == 0
