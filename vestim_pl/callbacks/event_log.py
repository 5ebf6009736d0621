"""Write what happened in a run to a file, one line an event."""

from pathlib import Path

from lightning.pytorch import Callback, Trainer

from vestim_pl.functional.event_lines import append_event
from vestim_pl.functional.events import Event

__all__ = ["EventLog"]


class EventLog(Callback):
    """Writes every event of a run to a file: one JSON object a line, in order, on disk before the next one comes.

    Skips, rollbacks, clip bursts and changes of the learning rate are few, and after a crash they are what one wants to
    read; so each line is flushed at once, by the process of rank zero only. A run that is resumed appends. The keys are
    ``time`` (UTC), ``kind``, ``reason``, ``epoch``, ``step``, ``batch`` and ``values``; numbers that are not finite are
    the strings ``NaN``, ``Infinity`` and ``-Infinity``. Read it with
    :func:`vestim_pl.functional.event_lines.read_events`, pandas or jq. Nothing is written under ``fast_dev_run``.

    Whoever calls :func:`vestim_pl.functional.events.publish` is heard; the file is made with the first event.

    Args:
        path: File to write; its folder is made.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[EventLog("outputs/events.jsonl")], logger=False, accelerator="cpu")

    """

    def __init__(self, path: str = "events.jsonl") -> None:
        self.path = Path(path)

    def on_event(self, trainer: Trainer, event: Event) -> None:
        """Write one event; called by whoever publishes it."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        append_event(self.path, event.as_dict())
