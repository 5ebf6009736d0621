"""Write what happened in a run to a file, one line an event."""

import logging
from pathlib import Path

from lightning.pytorch import Callback, Trainer

from vestim_pl.errors import FileError
from vestim_pl.files import writing
from vestim_pl.lightning_support.event_lines import append_event
from vestim_pl.lightning_support.events import Event

__all__ = ["EventLog"]

_log = logging.getLogger("vestim_pl")


class EventLog(Callback):
    """Writes every event of a run to a file: one JSON object a line, in order, on disk before the next one comes.

    Skips, rollbacks, clip bursts and changes of the learning rate are few, and after a crash they are what one wants to
    read; so each line is flushed at once, by the process of rank zero only. A run that is resumed appends. The keys are
    ``time`` (UTC), ``kind``, ``reason``, ``epoch``, ``step``, ``batch`` and ``values``; numbers that are not finite are
    the strings ``NaN``, ``Infinity`` and ``-Infinity``. Read it with
    `read_events`, pandas or jq. Nothing is written under ``fast_dev_run``.

    Every event of `publish` is written; the file is made with the first one. Where an
    event cannot be written, because the disk is full or the folder is gone, the run stops: nothing else of it could be
    kept either. A run that is stopping already logs a warning instead, so that its own reason is the one reported.

    Args:
        path: File to write; its folder is made with the first event, and not made again when it is removed.

    Raises:
        FileError: From the step in which an event cannot be written.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[EventLog("outputs/events.jsonl")], logger=False, accelerator="cpu")

    """

    def __init__(self, path: str = "events.jsonl") -> None:
        self.path = Path(path)
        self._has_folder = False

    def on_event(self, trainer: Trainer, event: Event) -> None:
        """Write one event, which `publish` hands over."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if not self._has_folder:
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._has_folder = True
        try:
            append_event(self.path, event.as_dict())
        except FileError as error:
            if not trainer.interrupted:
                raise
            _log.warning("an event is lost: %s", error)
