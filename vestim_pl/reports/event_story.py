"""Events of a run as rows of a table, folded so that many of one kind do not hide a single important one."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

__all__ = ["EventRow", "EventStory", "event_story"]

FOLDED = 4
"""Length from which events of one kind in succession become one row."""
SHOWN = 300
"""Most events in the report; of more, those in the middle are left to `events.jsonl`."""
LONGEST = 1500
"""Characters of an event's values that are shown."""


@dataclass(frozen=True)
class EventRow:
    """One event, or several of one kind in succession.

    Attributes:
        epoch: Its epoch, or the first and the last; empty where unknown.
        step: Its optimizer step, likewise.
        batch: Its batch; empty for several.
        kind: What happened, and how often.
        reason: Reason of the first event.
        values: Further values of a single event as JSON.
        folded: The single events, where there are several.

    """

    epoch: str
    step: str
    batch: str
    kind: str
    reason: str
    values: str = ""
    folded: tuple["EventRow", ...] = ()


@dataclass(frozen=True)
class EventStory:
    """Events in order.

    Attributes:
        counts: Kinds with the number of events of each, most frequent first.
        first: The first events, or all of them.
        omitted: Number of events left out after those.
        last: The last events, where some are left out.

    """

    counts: str
    first: tuple[EventRow, ...]
    omitted: int = 0
    last: tuple[EventRow, ...] = ()


def event_story(events: Sequence[Mapping[str, Any]]) -> EventStory | None:
    """Arrange events for the report; None without events.

    Args:
        events: As `RunFolder` reads them.

    Example::

        >>> skips = [{"kind": "skip", "reason": f"batch {n}", "epoch": 0, "step": n} for n in range(5)]
        >>> story = event_story(skips)
        >>> story.counts, story.first[0].step, len(story.first[0].folded)
        ('skip (5)', '0 to 4', 5)

    """
    if not events:
        return None
    counts = ", ".join(f"{_kind(kind)} ({count})" for kind, count in Counter(e["kind"] for e in events).most_common())
    if len(events) <= SHOWN:
        return EventStory(counts, _rows(events))
    half = SHOWN // 2
    return EventStory(counts, _rows(events[:half]), len(events) - 2 * half, _rows(events[-half:]))


def _rows(events: Sequence[Mapping[str, Any]]) -> tuple[EventRow, ...]:
    rows: list[EventRow] = []
    for _, group in groupby(events, key=lambda event: event["kind"]):
        same = tuple(map(_row, group))
        rows += same if len(same) < FOLDED else (_folded(same),)
    return tuple(rows)


def _row(event: Mapping[str, Any]) -> EventRow:
    epoch, step, batch = ("" if event.get(name) is None else str(event[name]) for name in ("epoch", "step", "batch"))
    return EventRow(epoch, step, batch, _kind(event["kind"]), event["reason"], _values(event.get("values")))


def _folded(rows: tuple[EventRow, ...]) -> EventRow:
    first, last = rows[0], rows[-1]
    epoch, step = (
        start if start == end else f"{start} to {end}"
        for start, end in ((first.epoch, last.epoch), (first.step, last.step))
    )
    return EventRow(epoch, step, "", f"{first.kind} ({len(rows)})", first.reason, folded=rows)


def _kind(kind: str) -> str:
    return kind.replace("_", " ")


def _values(values: object) -> str:
    if not values:
        return ""
    written = json.dumps(values, ensure_ascii=False, default=str)
    return written if len(written) <= LONGEST else written[:LONGEST] + " …"
