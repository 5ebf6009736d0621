"""Events of a run, for the log, the event file and the reports."""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer

from vestim_pl.files import appending
from vestim_pl.lightning_support.protocols import EventListener, EventWatcher, callbacks_with

__all__ = [
    "Event",
    "append_event",
    "plain_value",
    "publish",
    "read_events",
    "strict_json",
    "watched_events",
]

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


def plain_value(value: Any) -> Any:
    """Convert a value to the types of JSON.

    JSON has no NaN and no infinity. They are written as text, because leaving them out would hide what matters most.

    Example::

        >>> plain_value({"norm": float("inf"), "grads": torch.tensor([1.0, float("nan")])})
        {'norm': 'Infinity', 'grads': [1.0, 'NaN']}

    """
    if value is None or isinstance(value, str | bool | int):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return plain_value(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_value(item) for item in value]
    return str(value)


def strict_json(value: Any, indent: int | None = None) -> str:
    """Write nested data of any types as strict JSON; see `plain_value`.

    Example::

        >>> strict_json({"kind": "skip", "values": {(0, 1): float("nan")}})
        '{"kind": "skip", "values": {"(0, 1)": "NaN"}}'

    """
    return json.dumps(plain_value(value), allow_nan=False, ensure_ascii=False, indent=indent)


def append_event(path: Path, event: Mapping[str, Any]) -> None:
    """Append an event to a file in an existing folder, as one line that starts with the time.

    Raises:
        FileError: If the file cannot be written; it keeps its length then.

    """
    line = strict_json({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event})
    # Opened for each event, because events are rare and nothing may be lost when the process dies.
    with appending(path), path.open("ab+") as file:
        torn = file.tell() > 0 and (file.seek(-1, 2), file.read(1))[1] != b"\n"
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")


def read_events(path: str | Path) -> list[dict[str, Any]]:
    """Read the events of a file that `EventLog` wrote; incomplete lines, as of a killed process, are skipped.

    Raises:
        FileNotFoundError: If there is no such file.

    """
    events = []
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events
