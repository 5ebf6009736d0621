"""The verdict, its table and its title."""

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.diagnosis.output import print_quick_test
from vestim_pl.diagnosis.quick_test import QuickTest, quick_test_title
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.settings.override import Override


def test_of(**severities: str) -> QuickTest:
    findings = [
        Finding(
            name.replace("_", " "), Severity(severity), f"figures of {name}", (Override("optimizer.lr", len(name)),)
        )
        for name, severity in severities.items()
    ]
    return QuickTest(findings)


test_of.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("severities", "line", "severity"),
    [
        ({"loss": "ok", "epoch_time": "ok"}, "Quick Test: passed", "ok"),
        ({"loss": "warning", "epoch_time": "warning"}, "Quick Test: failed: loss, epoch time", "warning"),
        ({"loss": "error", "epoch_time": "note"}, "Quick Test: failed: loss (not judged: epoch time)", "error"),
        ({"loss": "ok", "epoch_time": "note"}, "Quick Test: not judged: epoch time", "warning"),
    ],
)
def test_the_last_line_and_the_severity(severities, line, severity):
    test = test_of(**severities)
    assert (test.line, test.severity) == (line, severity)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_table_has_every_monitor_and_suggestions_that_can_be_copied(terminal):
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, no_color=True, width=60)
    print_quick_test(test_of(loss="ok", epoch_time="warning"), "Quick Test of outputs/a", console)
    text = out.getvalue()
    assert text.splitlines()[-1] == "Quick Test: failed: epoch time"
    for word in ("Quick Test of outputs/a", "passed", "failed", "figures of loss", "figures of epoch_time"):
        assert word in text
    marks = [line for line in text.splitlines() if "optimizer.lr=10" in line]
    assert marks == (["suggestion for epoch time: optimizer.lr=10"] if terminal else [marks[0]])


def run(stride: int = 1, wanted: int = 100) -> RunFolder:
    metrics = pd.DataFrame({"key": "epoch/seconds", "epoch": range(30), "step": range(30), "value": 3.0})
    config = {"trainer": {"max_epochs": wanted}, "sampling": {"stride": stride}}
    return RunFolder(Path("outputs/a"), config=config, metrics=metrics)


def test_the_title_says_how_much_was_trained_on():
    assert quick_test_title(run()) == "Quick Test of outputs/a: 30 of 100 epochs in 1 min 30 s"
    assert quick_test_title(run(4)).endswith(" in 1 min 30 s, one window in 4 (sampling.stride=4)")
    assert quick_test_title(run(wanted=-1)).endswith(": 30 epochs in 1 min 30 s")
    assert quick_test_title(RunFolder(Path("a"))) == "Quick Test of a: 0 epochs"
