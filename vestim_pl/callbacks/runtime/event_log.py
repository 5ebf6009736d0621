"""Write the events of a run to a file, one line per event."""

import logging
from pathlib import Path

from lightning.pytorch import Callback, Trainer

from vestim_pl.errors import FileError
from vestim_pl.files import writing
from vestim_pl.lightning_support.events import Event, append_event

__all__ = ["EventLog"]

_log = logging.getLogger("vestim_pl")


class EventLog(Callback):
    """Write every event of a run to a file, one JSON object per line, and flush each line at once.

    Skipped steps, rollbacks, clip bursts and changes of the learning rate are rare, and they are what you need to read
    after a crash. Only rank zero writes, and a resumed run appends. The keys are ``time`` (UTC), ``kind``, ``reason``,
    ``epoch``, ``step``, ``batch`` and ``values``. Non-finite numbers become the strings ``NaN``, ``Infinity`` and
    ``-Infinity``. Read the file with `read_events`, pandas or jq. Nothing is written under ``fast_dev_run``.

    The file contains every event of `publish` and is created with the first one. If an event cannot be written, because
    the disk is full or the folder is gone, the run stops, since nothing else could be saved either. A run that is
    already stopping logs a warning instead, so that its original reason is the one reported.

    Args:
        path: File to write; the first event creates its folder, which is not created again if it is removed.

    Raises:
        FileError: In the step whose event cannot be written.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[EventLog("outputs/events.jsonl")], logger=False, accelerator="cpu")

    """

    def __init__(self, path: str = "events.jsonl") -> None:
        self.path = Path(path)
        self._has_folder = False

    def on_event(self, trainer: Trainer, event: Event) -> None:
        """Write one event of `publish`."""
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
            _log.warning("could not write an event: %s", error)
