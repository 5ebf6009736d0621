from pathlib import Path

import pandas as pd
import pytest

from vestim_pl.reports.run_duration import run_duration
from vestim_pl.reports.run_folder import RunFolder


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (("10:00:00 a", "10:00:41 b"), "41 s"),
        (("10:00:00 a", "traceback", "12:30:10 b"), "2 h 30 min"),
        (("23:50:00 a", "23:59:59 b", "00:10:00 c"), "20 min 0 s"),
        (("10:00:01 a", "10:00:00 out of order", "10:00:05 b"), "4 s"),
        (("2026-01-02 10:00:00,123 a", "2026-01-02 10:01:00,000 b"), "1 min 0 s"),
    ],
)
def test_from_the_clock_of_the_log(log: tuple[str, ...], words: str) -> None:
    assert run_duration(RunFolder(Path(), log=log)) == ("Duration", words)


def test_pauses_are_named_and_one_line_is_no_duration() -> None:
    log = ("10:00:00 a", "11:00:00 b")
    assert run_duration(RunFolder(Path(), log=log, parts=2)) == ("Duration with pauses", "1 h 0 min")
    assert run_duration(RunFolder(Path(), log=log[:1])) is None


def test_logged_seconds_come_first() -> None:
    metrics = pd.DataFrame(
        {"key": ["time/epoch_seconds"] * 2, "epoch": 0.0, "step": [9.0, 19.0], "value": [30.5, 31.0]}
    )
    run = RunFolder(Path(), metrics=metrics, log=("10:00:00 a", "11:00:00 b"))
    assert run_duration(run) == ("Time in epochs", "1 min 2 s")
