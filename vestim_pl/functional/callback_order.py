"""What the callback right before another one has just measured."""

from typing import Any

from lightning.pytorch import Callback, Trainer

__all__ = ["measured_before"]


def measured_before(trainer: Trainer, callback: Callback, hook: str, name: str) -> Any:
    """Attribute ``name`` of the callback whose ``hook`` Lightning calls right before that of ``callback``.

    What that one has just measured still holds, because no code of another callback has run since. So two guards that
    look at the same numbers in a row need one measurement, while a callback between them that may have changed
    something makes the second one measure anew.

    Returns:
        None for the first one with that hook, and where there is no such attribute.

    Example::

        >>> class Guard(Callback):
        ...     parameter_norm = 3.0
        ...     def on_train_batch_end(self, *args):
        ...         pass
        >>> recovery = Callback()
        >>> trainer = Trainer(callbacks=[Guard(), recovery], logger=False, enable_checkpointing=False)
        >>> measured_before(trainer, recovery, "on_train_batch_end", "parameter_norm")
        3.0

    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for other in reversed(callbacks[: callbacks.index(callback)]):
        if getattr(type(other), hook) is not getattr(Callback, hook):
            return getattr(other, name, None)
    return None
