from collections.abc import Callable
from pathlib import Path
from typing import Any

from vestim_pl.reports.event_story import FOLDED, SHOWN
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.run_report import render

Make = Callable[..., dict[str, Any]]


def story(events: list[dict[str, Any]]) -> str:
    """The section of the report that shows the events."""
    page = render(RunFolder(Path("a/run"), events=tuple(events)))
    _, found, section = page.partition("<h2>What happened</h2>")
    return section.partition("</section>")[0] if found else ""


def test_in_order_and_many_of_a_kind_folded(make_event: Make) -> None:
    events = [make_event("warmup", "warm", 10), *(make_event("skip", f"skip {n}", 20 + n, n) for n in range(FOLDED)),
              make_event("rollback", "back", 40), make_event("skip", "once more", 50, 3)]  # fmt: skip
    page = story(events)
    assert f"skip ({FOLDED + 1}), warmup (1), rollback (1)" in page
    places = [page.index(f">{said}") for said in ("warm<", "skip 0", "back<", "once more")]
    assert places == sorted(places)
    assert page.count("<details>") == 1
    assert all(f"skip {n}" in page for n in range(FOLDED))
    assert f"20 to {20 + FOLDED - 1}" in page


def test_few_of_a_kind_stay_apart(make_event: Make) -> None:
    page = story([make_event("skip", f"skip {n}", n) for n in range(FOLDED - 1)])
    assert "<details>" not in page


def test_of_very_many_the_middle_is_left_to_the_file(make_event: Make) -> None:
    events = [make_event("skip" if n % 2 else "clip_burst", f"number {n}.", n) for n in range(SHOWN + 51)]
    page = story(events)
    assert "51 more events are in events.jsonl" in page
    assert "number 0." in page
    assert f"number {SHOWN + 50}." in page
    assert f"number {SHOWN // 2}." not in page


def test_values_are_there_and_long_ones_cut(make_event: Make) -> None:
    page = story([make_event("skip", "x", 1, recordings=["a<b"], norm=float("nan"))])
    assert "{&#34;recordings&#34;: [&#34;a&lt;b&#34;], &#34;norm&#34;: NaN}" in page
    assert len(story([make_event("skip", "x", 1, many=list(range(100_000)))])) < 20_000
    assert story([]) == ""
