import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vestim_pl.lightning_support.event_lines import event_line, plain_value, read_events

NAN, INF = float("nan"), float("inf")


def strict(line):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (NAN, "NaN"),
        (INF, "Infinity"),
        (-INF, "-Infinity"),
        (1.5, 1.5),
        (True, True),
        (None, None),
        (torch.tensor(NAN), "NaN"),
        (torch.tensor([1, 2]), [1, 2]),
        (np.float32(2.0), 2.0),
        (np.array([INF, 1.0]), ["Infinity", 1.0]),
        (Path("a/b"), "a/b"),
        ({1: (NAN, {"x": INF})}, {"1": ["NaN", {"x": "Infinity"}]}),
        ("zwölf\n", "zwölf\n"),
    ],
)
def test_every_value_becomes_strict_json(value, plain):
    assert strict(event_line({"value": value})) == {"value": plain}
    assert plain_value(value) == plain


def test_a_half_written_line_is_passed_over(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "a"}\n{"kind": "b", "rea\n\n3\n{"kind": "c"}\n{"kind": "d"')
    assert [event["kind"] for event in read_events(path)] == ["a", "c"]


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_events(tmp_path / "nowhere.jsonl")
