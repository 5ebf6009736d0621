"""The order of callbacks: which must come before which, and what the one right before has measured."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lightning.pytorch import Callback, Trainer

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.lightning_classes import lightning_classes, overrides_hook
from vestim_pl.lightning_support.protocols import MeasuresGradientNorm, MeasuresParameterNorm, Recovers

__all__ = [
    "EARLY_STOPPING",
    "RECOVERY",
    "WEIGHT_AVERAGING",
    "Later",
    "gradient_norm_before",
    "parameter_norm_before",
    "require_before",
]


class Later(NamedTuple):
    """A kind of callback that must stand after another one.

    Attributes:
        matches: Whether a callback is of this kind.
        consequence: What it would do if it came before.

    """

    matches: Callable[[Any], bool]
    consequence: str


RECOVERY = Later(lambda other: isinstance(other, Recovers), "restore the weights before {callback} examines them")
EARLY_STOPPING = Later(
    lambda other: isinstance(other, lightning_classes("callbacks.EarlyStopping")),
    "stop the run on the non-finite metric that {callback} recovers from",
)
WEIGHT_AVERAGING = Later(
    # A NaN never leaves the average, and at the end of the training the average becomes the module's weights.
    lambda other: isinstance(other, lightning_classes("callbacks.WeightAveraging")),
    "average non-finite weights before {callback} restores them",
)


def require_before(trainer: Trainer, callback: Callback, *later: Later) -> None:
    """Refuse callbacks that must come after this one but stand before it.

    Raises:
        ConfigurationError: If one stands before, with the consequence.

    Example::

        >>> guard = Callback()
        >>> trainer = Trainer(callbacks=[guard], logger=False, enable_checkpointing=False)
        >>> require_before(trainer, guard, WEIGHT_AVERAGING, EARLY_STOPPING)

    """
    name = type(callback).__name__
    for other in _before(trainer, callback):
        for kind in later:
            if kind.matches(other):
                found, consequence = type(other).__name__, kind.consequence.format(callback=name)
                raise ConfigurationError(
                    f"{name}: {found} stands before it and would {consequence}; put {name} before {found} in callbacks"
                )


def gradient_norm_before(trainer: Trainer, callback: Callback | None = None) -> float | None:
    """Return the norm of the gradients that the callback right before this one measured; None if it measured none.

    Only callbacks with an ``on_before_optimizer_step`` count, so no other one could change the gradients since. Without
    a callback, the norm is for ``configure_gradient_clipping`` of the module, whose own hook runs after the callbacks'.

    Example::

        >>> class Guard(Callback):
        ...     gradient_norm = 3.0
        ...     def on_before_optimizer_step(self, *args):
        ...         pass
        >>> clipping = Callback()
        >>> trainer = Trainer(callbacks=[Guard(), clipping], logger=False, enable_checkpointing=False)
        >>> gradient_norm_before(trainer, clipping)
        3.0

    """
    if callback is None and overrides_hook(trainer.lightning_module, "on_before_optimizer_step"):
        return None
    nearest = _nearest_with_hook(trainer, callback, "on_before_optimizer_step")
    return nearest.gradient_norm if isinstance(nearest, MeasuresGradientNorm) else None


def parameter_norm_before(trainer: Trainer, callback: Callback) -> float | None:
    """Return the norm of parameters and buffers that the callback right before in ``on_train_batch_end`` measured."""
    nearest = _nearest_with_hook(trainer, callback, "on_train_batch_end")
    return nearest.parameter_norm if isinstance(nearest, MeasuresParameterNorm) else None


def _before(trainer: Trainer, callback: Callback | None) -> Sequence[Any]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks if callback is None else callbacks[: callbacks.index(callback)]


def _nearest_with_hook(trainer: Trainer, callback: Callback | None, hook: str) -> Any:
    return next((other for other in reversed(_before(trainer, callback)) if overrides_hook(other, hook)), None)
