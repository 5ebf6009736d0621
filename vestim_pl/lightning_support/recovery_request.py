"""Asking the other callbacks for a recovery before giving up."""

from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.errors import ConfigurationError

__all__ = ["ask_for_recovery", "require_before_recovery", "somebody_recovers"]


def ask_for_recovery(trainer: Trainer, pl_module: LightningModule, reason: str) -> bool:
    """Ask every callback that has ``recover_from`` to bring the training back to a good state; the first one decides.

    Known by its method rather than its class, so a guard works without the recovery and with one of somebody else's.
    Ask on all ranks or on none, and at the end of a batch: within an optimizer's step its state is not its own.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        reason: What went wrong, where and when, in few words and without a full stop: the rollback repeats them. What
            else there is to say belongs into the event of the one who asks.

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
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        recover = getattr(callback, "recover_from", None)
        if callable(recover) and recover(trainer, pl_module, reason):
            return True
    return False


def somebody_recovers(trainer: Trainer) -> bool:
    """Whether there is a callback to ask; else the error that ends the training has to tell everything.

    Example::

        >>> somebody_recovers(Trainer(logger=False, enable_checkpointing=False))
        False

    """
    return any(callable(getattr(callback, "recover_from", None)) for callback in trainer.callbacks)  # type: ignore[attr-defined]


def require_before_recovery(trainer: Trainer, callback: Callback) -> None:
    """Refuse an order in which a callback comes to see the weights only after another one may have restored them.

    Args:
        trainer: Trainer that is about to fit.
        callback: The one that looks at the weights.

    Raises:
        ConfigurationError: If a callback with ``recover_from`` stands before it.

    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for other in callbacks[: callbacks.index(callback)]:
        if hasattr(other, "recover_from"):
            own, name = type(callback).__name__, type(other).__name__
            raise ConfigurationError(
                f"{own}: {name} stands before it and would restore the weights before they are looked at; put {own}"
                f" before {name} in callbacks"
            )
