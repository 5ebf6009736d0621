"""Lightning's own signal handlers, switched off for a fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer

__all__ = ["switch_off_handlers", "without_lightnings_handlers"]


@contextmanager
def without_lightnings_handlers(trainer: Trainer) -> Iterator[None]:
    """Keep Lightning from installing signal handlers while another owner has the signals.

    Its handler of SIGTERM calls a collective operation in the middle of whatever runs, its handlers under Slurm save a
    checkpoint in the middle of a step and requeue the job, and when the fit ends it puts back every handler that it
    found, current or not.

    Args:
        trainer: The trainer; before its loops start, as in ``setup``.

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
    """Keep Lightning from installing signal handlers in whatever the trainer does from now on."""
    connector: Any = trainer._signal_connector
    connector.register_signal_handlers = _register_nothing


def _register_nothing() -> None:
    """What Lightning calls in place of its own method; a function of a module can be pickled."""
