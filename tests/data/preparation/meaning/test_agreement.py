from dataclasses import replace

import pytest

from vestim_pl.data.preparation.meaning.agreement import disagreements, interval_problem
from vestim_pl.data.preparation.meaning.evidence import Evidence

ONE = Evidence(1.0, 0.0, (1.0, 1.0), None, 3.0, {})


def test_recordings_that_agree_say_nothing():
    evidence = {"a": ONE, "b": replace(ONE, capacity_ah=3.5), "c": replace(ONE, capacity_ah=None)}
    assert disagreements(evidence, {"a": 1.0, "b": 1.02, "c": None}) == {}


def test_the_recording_with_another_interval_is_named_with_the_slowest_one():
    problems = disagreements({}, {"a": 1.0, "b": 1.0, "c": 0.1})
    assert list(problems) == ["c"]
    assert "c: rows are 0.1 s apart, those of most recordings 1 s; set data.resample=1" in problems["c"]


def test_the_recording_with_another_capacity_is_named():
    evidence = {"a": ONE, "b": ONE, "c": replace(ONE, capacity_ah=50.0)}
    problems = disagreements(evidence, dict.fromkeys(evidence, 1.0))
    assert list(problems) == ["c"]
    assert "current and SOC imply 50 Ah, those of most recordings 3 Ah" in problems["c"]


@pytest.mark.parametrize(("interval", "expected"), [(None, 1.0), (1.0, None), (1.04, 1.0)])
def test_an_interval_that_is_unknown_or_alike_is_no_problem(interval, expected):
    assert interval_problem("a", interval, expected) is None
