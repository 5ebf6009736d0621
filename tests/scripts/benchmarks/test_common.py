"""Helpers of the benchmarks: ratios within rounds, cases in turn, a table and a file that name the machine."""

import importlib.util
import json
import platform
from pathlib import Path

import pytest

PATH = Path(__file__).parents[3] / "scripts" / "benchmarks" / "common.py"
SPEC = importlib.util.spec_from_file_location("benchmarks_common", PATH)
assert SPEC is not None
assert SPEC.loader is not None
common = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(common)


def test_a_ratio_is_taken_within_rounds_so_a_busy_round_slows_both():
    slow, fast = common.Timing([2.0, 40.0, 2.2]), common.Timing([1.0, 20.0, 1.0])
    assert slow.median == 2.2
    assert slow.over(fast) == 2.0


def test_cases_are_called_in_turn():
    calls = []
    timings = common.interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, warmup=2)
    assert calls[-6:] == ["a", "b"] * 3
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]


def test_quick_cases_are_repeated_and_a_single_call_counts():
    count = 0

    def quick():
        nonlocal count
        count += 1

    timing = common.interleave({"quick": quick}, rounds=1, warmup=100, least_seconds=0.001)["quick"]
    assert count > 102
    assert timing.median < 0.001


def test_the_report_is_a_table_and_a_file_that_name_the_machine_but_not_its_owner(tmp_path, capsys):
    rows = [{"case": "ours", "ms": 1.23456, "over": None}, {"case": "theirs", "ms": 12345.6, "over": 2}]
    common.report("Speed", rows, tmp_path / "some" / "speed.json", {"rounds": 3})
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("ours", "1.235", "12,346", "torch"))
    content = json.loads((tmp_path / "some" / "speed.json").read_text())
    assert content["rows"] == rows
    assert content["settings"] == {"rounds": 3}
    assert content["machine"]["torch"]
    assert platform.node() not in json.dumps(content["machine"]) or len(platform.node()) < 4


def test_options_every_benchmark_has():
    options = common.arguments("Speed", "speed").parse_args(["--rounds", "3"])
    assert options.rounds == 3
    assert options.json == Path("outputs/benchmarks/speed.json")
    with pytest.raises(SystemExit):
        common.arguments("Speed", "speed").parse_args(["--round", "x"])
