"""Asking the other callbacks for a recovery before giving up."""

from lightning.pytorch import LightningModule, Trainer

from vestim_pl.lightning_support.protocols import Recovers, callbacks_with

__all__ = ["ask_for_recovery", "can_recover"]


def ask_for_recovery(trainer: Trainer, pl_module: LightningModule, reason: str) -> bool:
    """Ask every callback that implements `Recovers`, in order, until one has brought the training to a good state.

    Ask on all ranks or on none, and at the end of a batch: within an optimizer's step its state is in flux.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        reason: What went wrong, where and when, in few words and without a full stop: the rollback repeats them.
            Further detail belongs into the caller's own event.

    Returns:
        Whether one of them recovered.

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
    """Whether a callback can recover; if not, the error that ends the training has to say everything.

    Example::

        >>> can_recover(Trainer(logger=False, enable_checkpointing=False))
        False

    """
    return bool(callbacks_with(trainer, Recovers))
