"""Write events as lines of strict JSON, and read them."""

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


def event_line(event: Mapping[str, Any]) -> str:
    """Write an event as one line of strict JSON, without the line break.

    Example::

        >>> event_line({"kind": "skip", "reason": "loss is NaN", "values": {"loss": float("nan")}})
        '{"kind": "skip", "reason": "loss is NaN", "values": {"loss": "NaN"}}'

    """
    return strict_json(event)


def strict_json(value: Any, indent: int | None = None) -> str:
    """Write nested data of any types as strict JSON; see `plain_value`.

    Example::

        >>> strict_json({(0, 1): float("nan")})
        '{"(0, 1)": "NaN"}'

    """
    return json.dumps(plain_value(value), allow_nan=False, ensure_ascii=False, indent=indent)


def append_event(path: Path, event: Mapping[str, Any]) -> None:
    """Append an event to a file as one line that starts with the time.

    Args:
        path: File to write, in an existing folder.
        event: Plain values.

    Raises:
        FileError: If the file cannot be written; it keeps its length then.

    """
    line = event_line({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event})
    # Opened for each event, because events are rare and nothing may be lost when the process dies.
    with appending(path), path.open("ab+") as file:
        torn = file.tell() > 0 and (file.seek(-1, 2), file.read(1))[1] != b"\n"
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")


def read_events(path: str | Path) -> list[dict[str, Any]]:
    """Read the events of a file that `EventLog` wrote, in order.

    Incomplete lines, which a killed process may leave, are skipped.

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
