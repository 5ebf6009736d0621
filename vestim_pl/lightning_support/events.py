"""Events of a run, for the log, the event file and the reports."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning.pytorch import Trainer

from vestim_pl.lightning_support.protocols import EventListener, EventWatcher, callbacks_with

__all__ = ["Event", "publish", "watched_events"]

_log = logging.getLogger("vestim_pl")


@dataclass(frozen=True)
class Event:
    """One notable event: a skipped batch, a rollback, a change of the learning rate.

    Attributes:
        kind: Machine-readable kind, such as ``skip``, ``rollback`` or ``learning_rate``.
        reason: One sentence: what happened and why.
        epoch: Epoch, from 0 as Lightning counts.
        step: Optimizer steps of the trainer so far.
        batch: Index of the batch in its epoch; None outside a batch.
        values: Further plain numbers, strings and lists.

    Example::

        >>> Event("skip", "loss is NaN", epoch=0, step=3, batch=7).as_dict()["reason"]
        'loss is NaN'

    """

    kind: str
    reason: str
    epoch: int
    step: int
    batch: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON."""
        return asdict(self)


def publish(
    trainer: Trainer, kind: str, reason: str, *, batch: int | None = None, level: int = logging.WARNING, **values: Any
) -> Event:
    """Publish an event once: one log line on rank zero, and a call of every `EventListener`.

    Args:
        trainer: The trainer of the run.
        kind: Machine-readable kind.
        reason: One sentence for the log.
        batch: Index of the batch in its epoch.
        level: Level of the log line; ``logging.DEBUG`` keeps it off the terminal.
        values: Further plain numbers, strings and lists.

    Returns:
        The event.

    """
    event = Event(kind, reason, epoch=trainer.current_epoch, step=trainer.global_step, batch=batch, values=values)
    if trainer.is_global_zero:
        _log.log(level, "%s", reason)
    for listener in callbacks_with(trainer, EventListener):
        listener.on_event(trainer, event)
    return event


def watched_events(trainer: Trainer) -> frozenset[str]:
    """Collect the kinds of events that some callback detects at every step.

    A callback that reacts to such an event need not check for its cause at every step too.
    """
    return frozenset().union(*(watcher.watches_for for watcher in callbacks_with(trainer, EventWatcher)))
