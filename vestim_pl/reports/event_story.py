"""The events of a run, told in order, so that many of one kind do not hide the one that matters."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from vestim_pl.reports.markup import Html, details, joined, section, table, text

__all__ = ["event_story"]

FOLDED = 4  # so many events of one kind in a row, and more, are folded into one line
_HEADS = ("epoch", "step", "batch", "kind", "what and why")
SHOWN = 300  # of more events the middle is left to the file


def event_story(events: Sequence[dict[str, Any]]) -> Html:
    """Events in order; a row of the same kind is one line that opens.

    Args:
        events: As `RunFolder` reads them.

    Returns:
        A section, empty without events.

    """
    if not events:
        return Html("")
    counts = ", ".join(f"{_kind(kind)} ({count})" for kind, count in Counter(e["kind"] for e in events).most_common())
    first, middle, last = _without_middle(events)
    parts: list[object] = [Html(f"<p>{text(counts)}</p>"), _told(first)]
    if middle:
        parts.append(Html(f'<p class="left-out">{middle:,} more events are in events.jsonl</p>'))
        parts.append(_told(last))
    return section("What happened", *parts)


def _without_middle(events: Sequence[dict[str, Any]]) -> tuple[Sequence[dict[str, Any]], int, Sequence[dict[str, Any]]]:
    if len(events) <= SHOWN:
        return events, 0, ()
    half = SHOWN // 2
    return events[:half], len(events) - 2 * half, events[-half:]


def _told(events: Sequence[dict[str, Any]]) -> Html:
    """A table of the events, rows of the same kind folded into one."""
    rows: list[tuple[object, ...]] = []
    for _, group in groupby(events, key=lambda event: event["kind"]):
        same = list(group)
        rows += [_row(event) for event in same] if len(same) < FOLDED else [_folded(same)]
    return table(_HEADS, rows, kind="events")


def _row(event: dict[str, Any]) -> tuple[object, ...]:
    places = (_place(event.get(name)) for name in ("epoch", "step", "batch"))
    return *places, _kind(event["kind"]), joined([event["reason"], _values(event.get("values"))])


def _folded(events: Sequence[dict[str, Any]]) -> tuple[object, ...]:
    """Many events as one row: from the first to the last, all of them on a click."""
    spans = []
    for name in ("epoch", "step"):
        first, last = (_place(event.get(name)) for event in (events[0], events[-1]))
        spans.append(first if first == last else f"{first} to {last}")
    every = details(f"all {len(events)}", table(_HEADS, [_row(event) for event in events], kind="events"))
    return *spans, "", f"{_kind(events[0]['kind'])} ({len(events)})", joined([events[0]["reason"], every])


def _place(value: object) -> str:
    return "" if value is None else str(value)


def _kind(kind: str) -> str:
    return kind.replace("_", " ")


def _values(values: object) -> Html:
    """Further values as one line of JSON that opens on a click, long lists cut."""
    if not values:
        return Html("")
    written = json.dumps(values, ensure_ascii=False, default=str)
    shown = written if len(written) <= 1500 else written[:1500] + " …"
    return details("values", Html(f"<code>{text(shown)}</code>"))
