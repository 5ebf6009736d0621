"""Whether a training begins anew with callbacks that an earlier one has used."""

from lightning.pytorch import Trainer

__all__ = ["begins_training"]


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
