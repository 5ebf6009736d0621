"""Ask other callbacks to recover the training before it is stopped."""

from lightning.pytorch import LightningModule, Trainer

from vestim_pl.lightning_support.protocols import Recovers, callbacks_with

__all__ = ["ask_for_recovery", "can_recover"]


def ask_for_recovery(trainer: Trainer, pl_module: LightningModule, reason: str) -> bool:
    """Ask the callbacks that implement `Recovers`, in order, until one recovers.

    Call it on all ranks or on none, and at the end of a batch, because the state changes within an optimizer step.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        reason: What went wrong, where and when, in few words and without a full stop, because the message of the
            rollback includes it.

    Returns:
        Whether a callback recovered.

    Example::

        >>> class Recovery:
        ...     def recover_from(self, trainer, pl_module, reason):
        ...         return "loss" in reason
        >>> class Trainer:
        ...     callbacks = [object(), Recovery()]
        >>> ask_for_recovery(Trainer(), None, "the loss is nan")
        True

    """
    return any(callback.recover_from(trainer, pl_module, reason) for callback in callbacks_with(trainer, Recovers))


def can_recover(trainer: Trainer) -> bool:
    """Whether there is a callback to ask.

    Example::

        >>> can_recover(Trainer(logger=False, enable_checkpointing=False))
        False

    """
    return bool(callbacks_with(trainer, Recovers))
