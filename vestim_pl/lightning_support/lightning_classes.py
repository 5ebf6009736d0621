"""Checks against Lightning's classes that hold for both of its packages."""

import sys
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from lightning.pytorch import Trainer

__all__ = [
    "checkpoint_callbacks",
    "early_stopping_callbacks",
    "is_sharded",
    "lightning_classes",
    "model_checkpoints",
    "overrides_hook",
    "with_twin",
]

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def lightning_classes(*names: str) -> tuple[type, ...]:
    """Look up classes in every Lightning package that the process has imported.

    ``lightning.pytorch`` and ``pytorch_lightning`` are two copies of the same code with different classes. An
    ``isinstance`` against a class of one package is false for objects of the other, so every check in vestim_pl uses
    this function. Names that the installed version lacks are left out.

    Args:
        names: Names below the package, such as ``callbacks.EarlyStopping``.

    Example::

        >>> from lightning.pytorch.callbacks import EarlyStopping
        >>> isinstance(EarlyStopping("loss"), lightning_classes("callbacks.EarlyStopping"))
        True
        >>> lightning_classes("callbacks.NoSuchCallback")
        ()

    """
    packages = [sys.modules[package] for package in _PACKAGES if package in sys.modules]
    found = [_class(package, name) for package in packages for name in names]
    return tuple(kind for kind in found if kind is not None)


def _class(package: Any, name: str) -> type | None:
    try:
        kind: type = attrgetter(name)(package)
    except AttributeError:
        return None
    return kind


def with_twin(kind: type) -> tuple[type, ...]:
    """A class and, for one of Lightning's, the class of the same name in the other package."""
    return (kind, *lightning_classes(kind.__name__))


def overrides_hook(instance: object, hook: str) -> bool:
    """Whether a callback, module or data module overrides a hook of Lightning.

    Lightning's ``is_overridden`` raises for instances of the other package. Tested with lightning 2.6.0 and 2.6.6.

    Example::

        >>> from lightning.pytorch import Callback
        >>> from lightning.pytorch.callbacks import EarlyStopping
        >>> overrides_hook(EarlyStopping("loss"), "on_validation_end"), overrides_hook(Callback(), "on_validation_end")
        (True, False)

    """
    own = getattr(type(instance), hook, None)
    bases = lightning_classes("Callback", "LightningModule", "LightningDataModule")
    return own is not None and not any(own is getattr(base, hook, None) for base in bases if isinstance(instance, base))


def early_stopping_callbacks(trainer: Trainer) -> list[Any]:
    """List the EarlyStopping callbacks of the trainer, of either package."""
    return _instances(trainer, lightning_classes("callbacks.EarlyStopping"))


def checkpoint_callbacks(trainer: Trainer) -> list[Any]:
    """List the callbacks of the trainer that write checkpoints, of either package."""
    return _instances(trainer, lightning_classes("callbacks.Checkpoint"))


def model_checkpoints(trainer: Trainer) -> list[Any]:
    """List the ModelCheckpoint callbacks of the trainer, of either package."""
    return _instances(trainer, lightning_classes("callbacks.ModelCheckpoint"))


def is_sharded(trainer: Trainer) -> bool:
    """Whether the strategy gives each process only a part of the weights, gradients and optimizer state."""
    names = ("DeepSpeedStrategy", "FSDPStrategy", "ModelParallelStrategy")
    return isinstance(trainer.strategy, lightning_classes(*(f"strategies.{name}" for name in names)))


def _instances(trainer: Trainer, kinds: tuple[type, ...]) -> list[Any]:
    callbacks: Iterable[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, kinds)]
