"""Find the index of a batch before its training step."""

from lightning.pytorch import Trainer

__all__ = ["next_batch_index"]


def next_batch_index(trainer: Trainer) -> int:
    """Return the index in the epoch of the batch that is being moved to the device.

    Hooks before the transfer get no index, so this reads Lightning's loop counter. Tested with lightning 2.6.6.
    """
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready
