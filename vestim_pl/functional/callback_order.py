"""Which callback comes right before another one."""

from lightning.pytorch import Callback, Trainer

__all__ = ["callback_before"]


def callback_before(trainer: Trainer, callback: Callback, hook: str) -> Callback | None:
    """The callback whose ``hook`` Lightning calls right before that of ``callback``; None for the first.

    What that one has just measured still holds: no code of another callback runs between the two.

    Example::

        >>> first, second = Callback(), Callback()
        >>> callback_before(Trainer(callbacks=[first, second], logger=False), second, "on_fit_start") is None
        True

    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for other in reversed(callbacks[: callbacks.index(callback)]):
        if getattr(type(other), hook) is not getattr(Callback, hook):
            return other
    return None
