"""A stand-in for the trainer, for functions that read a few of its attributes."""

from typing import Any


class FakeTrainer:
    """Has the callbacks and attributes that a test gives it, and a place in the training.

    Args:
        callbacks: Callbacks of the trainer.
        attributes: Further attributes.

    """

    current_epoch, global_step, is_global_zero = 3, 17, True

    def __init__(self, *callbacks: Any, **attributes: Any) -> None:
        self.callbacks = list(callbacks)
        vars(self).update(attributes)
