"""What the callback right before another one has just measured, and which must not stand before it."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer, callbacks

from vestim_pl.errors import ConfigurationError

__all__ = ["measured_before", "measured_last", "require_before_averaging"]

_AVERAGING = getattr(callbacks, "WeightAveraging", ())  # Lightning has it from 2.6 on


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
    return _of_the_last(callbacks[: callbacks.index(callback)], hook, name)


def measured_last(module: LightningModule, hook: str, name: str) -> Any:
    """Attribute ``name`` of the callback whose ``hook`` Lightning calls last, for the module, whose turn is next.

    Returns:
        None without a callback that has the hook, where there is no such attribute, and where the module has the hook
        too: its own comes after those of the callbacks, and may have changed what they measured.

    Example::

        >>> class Guard(Callback):
        ...     gradient_norm = 3.0
        ...     def on_before_optimizer_step(self, *args):
        ...         pass
        >>> module = LightningModule()
        >>> module.trainer = Trainer(callbacks=[Guard(), Callback()], logger=False, enable_checkpointing=False)
        >>> measured_last(module, "on_before_optimizer_step", "gradient_norm")
        3.0

    """
    if getattr(type(module), hook) is not getattr(LightningModule, hook):
        return None
    return _of_the_last(module.trainer.callbacks, hook, name)  # type: ignore[attr-defined]


def require_before_averaging(trainer: Trainer, callback: Callback) -> None:
    """Refuse an average of the weights that would be taken before the callback has put them right.

    One NaN stays in an average for good, and at the end of the training the average becomes the module's weights.

    Raises:
        ConfigurationError: If a ``WeightAveraging``, such as ``EMAWeightAveraging``, stands before the callback.

    Example::

        >>> guard = Callback()
        >>> trainer = Trainer(callbacks=[guard], logger=False, enable_checkpointing=False)
        >>> require_before_averaging(trainer, guard)

    """
    present: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for other in present[: present.index(callback)]:
        if isinstance(other, _AVERAGING):
            name, average = type(callback).__name__, type(other).__name__
            raise ConfigurationError(
                f"{name}: {average} stands before it and would average weights that are not finite, before {name}"
                f" puts them right; put {average} after {name} in callbacks"
            )


def _of_the_last(callbacks: Sequence[Callback], hook: str, name: str) -> Any:
    for other in reversed(callbacks):
        if getattr(type(other), hook) is not getattr(Callback, hook):
            return getattr(other, name, None)
    return None
