import dataclasses
import logging

import pytest

from tests.lightning_support.fake_trainer import FakeTrainer
from vestim_pl.lightning_support.events import Event, publish


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
