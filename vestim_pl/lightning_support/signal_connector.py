"""Switch off Lightning's signal handlers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer

__all__ = ["switch_off_handlers", "without_lightnings_handlers"]


@contextmanager
def without_lightnings_handlers(trainer: Trainer) -> Iterator[None]:
    """Keep Lightning from installing signal handlers within this context.

    Lightning's handler of SIGTERM starts a collective operation at any point of the program. Under Slurm its handlers
    save a checkpoint within a step and requeue the job. At the end of the fit it restores the handlers that it found at
    the start, even if they have changed since. Replaces a method of the private signal connector; tested with lightning
    2.6.6.

    Args:
        trainer: The trainer before its loops start, as in ``setup``.

    Example::

        >>> trainer = Trainer(logger=False, enable_checkpointing=False)
        >>> with without_lightnings_handlers(trainer):
        ...     trainer._signal_connector.register_signal_handlers()
        >>> trainer._signal_connector._original_handlers
        {}

    """
    before = "register_signal_handlers" in vars(trainer._signal_connector)
    switch_off_handlers(trainer)
    try:
        yield
    finally:
        if not before:
            vars(trainer._signal_connector).pop("register_signal_handlers", None)


def switch_off_handlers(trainer: Trainer) -> None:
    """Keep Lightning from installing signal handlers for this trainer; tested with lightning 2.6.6."""
    connector: Any = trainer._signal_connector
    connector.register_signal_handlers = _register_nothing


def _register_nothing() -> None:
    """Replaces Lightning's method; unlike a lambda it can be pickled."""
