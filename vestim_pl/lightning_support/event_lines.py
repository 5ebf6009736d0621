"""Events as lines of JSON that any reader takes, and back."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vestim_pl.files import appending

__all__ = ["append_event", "event_line", "plain_value", "read_events", "strict_json"]


def plain_value(value: Any) -> Any:
    """A value as JSON knows it.

    JSON has no numbers that are not finite. Such a one becomes its name: leaving it out would hide what matters most.

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


def event_line(event: Mapping[str, Any]) -> str:
    """One event as one line of strict JSON, without the line break.

    Example::

        >>> event_line({"kind": "skip", "reason": "loss is NaN", "values": {"loss": float("nan")}})
        '{"kind": "skip", "reason": "loss is NaN", "values": {"loss": "NaN"}}'

    """
    return strict_json(event)


def strict_json(value: Any, indent: int | None = None) -> str:
    """Nested data as JSON that any reader takes, whatever is in it; see `plain_value`.

    Example::

        >>> strict_json({(0, 1): float("nan")})
        '{"(0, 1)": "NaN"}'

    """
    return json.dumps(plain_value(value), allow_nan=False, ensure_ascii=False, indent=indent)


def append_event(path: Path, event: Mapping[str, Any]) -> None:
    """Append an event to a file as one line that begins with the time.

    Args:
        path: File to write, in an existing folder.
        event: Plain values.

    Raises:
        FileError: If the file cannot be written; it is then as long as before.

    """
    line = event_line({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event})
    # Opened for each event: they are rare, and nothing is left open or unwritten when the process dies.
    with appending(path), path.open("ab+") as file:
        torn = file.tell() > 0 and (file.seek(-1, 2), file.read(1))[1] != b"\n"
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")


def read_events(path: str | Path) -> list[dict[str, Any]]:
    """The events of a file that `EventLog` wrote, in order.

    A line that a dying process left half written is passed over.

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
