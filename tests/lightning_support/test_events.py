import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.lightning_support.fake_trainer import FakeTrainer
from vestim_pl.lightning_support.events import Event, plain_value, publish, read_events, strict_json


class Listener:
    def __init__(self):
        self.heard = []

    def on_event(self, trainer, event):
        self.heard.append(event)


def test_every_callback_that_listens_hears_it_once_and_the_log_has_one_line(caplog):
    first, second = Listener(), Listener()
    with caplog.at_level(logging.INFO, "vestim_pl"):
        event = publish(
            FakeTrainer(first, object(), second), "skip", "loss is NaN at 100 %", batch=4, loss=float("inf")
        )
    assert first.heard == second.heard == [event]
    assert event == Event("skip", "loss is NaN at 100 %", 3, 17, 4, {"loss": float("inf")})
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "loss is NaN at 100 %")
    ]


def test_other_ranks_hear_it_but_do_not_log(caplog):
    listener, trainer = Listener(), FakeTrainer()
    trainer.callbacks, trainer.is_global_zero = [listener], False
    publish(trainer, "skip", "loss is NaN")
    assert len(listener.heard) == 1
    assert caplog.records == []


def test_the_level_is_the_callers(caplog):
    with caplog.at_level(logging.INFO, "vestim_pl"):
        publish(FakeTrainer(), "plateau", "quiet", level=logging.DEBUG)
    assert caplog.records == []


def test_an_event_is_a_record_that_nobody_changes():
    event = Event("skip", "why", 0, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.kind = "other"
    assert event.as_dict() == {"kind": "skip", "reason": "why", "epoch": 0, "step": 1, "batch": None, "values": {}}


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
    assert strict(strict_json({"value": value})) == {"value": plain}
    assert plain_value(value) == plain


def test_a_half_written_line_is_passed_over(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "a"}\n{"kind": "b", "rea\n\n3\n{"kind": "c"}\n{"kind": "d"')
    assert [event["kind"] for event in read_events(path)] == ["a", "c"]


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_events(tmp_path / "nowhere.jsonl")
