import pytest

from vestim_pl.callbacks.runtime.checkpoint_interval import parse_interval
from vestim_pl.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "seconds", "steps"),
    [
        ("10 min", 600, None), ("10min", 600, None), ("1.5 h", 5400, None), ("30 s", 30, None), ("2 hours", 7200, None),
        ("1 minute", 60, None), ("90 Seconds", 90, None), ("500 steps", None, 500), ("1 step", None, 1),
        (None, None, None),
    ],
)  # fmt: skip
def test_a_number_with_a_unit_is_parsed(text, seconds, steps):
    interval = parse_interval(text)
    assert (interval.seconds, interval.steps) == (seconds, steps)


@pytest.mark.parametrize(
    "text", ["", "10", "min", "0 min", "-5 min", "1.5 steps", "10 parsecs", "ten min", "10 min 5 s"]
)
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(ConfigurationError, match=r"^checkpoint_every: .* is not an interval; write .*'10 min'"):
        parse_interval(text, "checkpoint_every")


def test_an_interval_passes_by_its_own_unit():
    assert not parse_interval("10 min").passed(599.9, 10**9)
    assert parse_interval("10 min").passed(600.0, 0)
    assert not parse_interval("5 steps").passed(1e9, 4)
    assert parse_interval("5 steps").passed(0.0, 5)
    assert not parse_interval(None).passed(1e9, 10**9)
