"""docs/guide.md answers every part of VEstim's debugging guide, by settings and callbacks that exist."""

import inspect
import re
from pathlib import Path

import pytest

import vestim_pl.callbacks
import vestim_pl.diagnosis

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "guide.md").read_text()

# Every heading of the guide in our words, and in brackets what its list under that heading counts.
PARTS = [
    "## The problem",
    "## Root cause 1: clipping at 0.5",
    "## Root cause 2: a lookback of 400",
    "## Root cause 3: 10 hidden units in one layer",
    "## Root cause 4: no weight decay",
    "## Fixes it describes",
    "| Fix 1: the threshold goes from 0.5 to 1.0 |",
    "| Fix 2: clip LSTM, GRU, LSTM_EMA and LSTM_LPF alike |",
    "| Fix 3: check all parameters after every update |",
    "## Option 1: safer training",
    "## Option 2: more capacity",
    "## Option 3: a lookback of 400 after all",
    "## Why that configuration failed",
    "## The quick test",
    "## The diagnostic message and its three remedies",
    "| Reduce the learning rate to a tenth |",
    "| Halve the lookback |",
    "| Triple the network |",
    "## Safeguards it counts as present",
    "## Summary of its changes",
    "## Next steps it gives",
    "## Long-term recommendations",
    "## References it names",
]
ROWS = {"Safeguards it counts as present": 6, "Next steps it gives": 5, "Long-term recommendations": 5}

QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))))


def test_every_part_of_the_guide_has_its_place_on_the_page():
    assert [part for part in PARTS if f"\n{part}" not in PAGE] == []
    for heading, rows in ROWS.items():
        section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
        assert len(re.findall(r"^\| (?!the guide says|-)", section, flags=re.MULTILINE)) == rows, heading


def test_nothing_is_left_to_fill_in():
    assert not re.findall(r"@[A-Z_]+@|TODO|XXX", PAGE)


@pytest.mark.parametrize("quoted", [text for text in QUOTED if re.fullmatch(r"[A-Z][a-z]+[A-Z]\w+", text)])
def test_every_callback_named_exists(quoted):
    assert quoted in vestim_pl.callbacks.__all__


@pytest.mark.parametrize("name", sorted(set(re.findall(r"checks? `([a-z -]+)`", PAGE))))
def test_every_check_named_exists(name):
    folder = Path(vestim_pl.diagnosis.__file__).parent
    found = re.findall(r'^CHECK = "(.*)"', "\n".join(p.read_text() for p in folder.rglob("*.py")), flags=re.MULTILINE)
    assert name in found


def test_what_the_page_says_of_the_message_is_what_the_guard_prints():
    [divergence_message] = [
        function
        for name, function in inspect.getmembers(inspect.getmodule(vestim_pl.callbacks.FiniteParameterGuard))
        if name == "divergence_message"
    ]
    shown = " ".join(re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)[0].split())
    assert shown == divergence_message(
        "model parameters became NaN/Inf after optimizer step 12", epoch=3, batch=7, learning_rate=1e-4,
        where=["lstm.weight (8 NaN of 8)"], lookback=400, hidden_sizes=[10],
    )  # fmt: skip
