import datetime
import json
import shutil
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from vestim_pl.callbacks import EventLog, LearningRateWarmup
from vestim_pl.errors import FileError
from vestim_pl.lightning_support.events import publish, read_events

NAN = float("nan")


class Publish(Callback):
    """Publishes one event at the end of every epoch."""

    def on_train_epoch_end(self, trainer, pl_module):
        publish(trainer, "skip", f"epoch {trainer.current_epoch}", batch=4, loss=NAN, batches=[1, 2])


def test_one_strict_json_object_per_line_in_order(foreign, fit, tmp_path):
    path = tmp_path / "deep" / "events.jsonl"
    fit(foreign.Module(), [Publish(), EventLog(str(path)), LearningRateWarmup(3)])
    lines = path.read_text().splitlines()
    events = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert events == read_events(path)
    assert [event["kind"] for event in events] == ["warmup", "skip", "skip"]
    times = [datetime.datetime.fromisoformat(event.pop("time")) for event in events]
    assert times == sorted(times)
    assert times[0].utcoffset() == datetime.timedelta(0)
    assert events[1] == {
        "kind": "skip", "reason": "epoch 0", "epoch": 0, "step": 5, "batch": 4,
        "values": {"loss": "NaN", "batches": [1, 2]},
    }  # fmt: skip


def test_an_event_is_on_disk_when_the_next_line_of_code_runs(foreign, fit, tmp_path):
    path = tmp_path / "events.jsonl"

    class Look(Publish):
        def on_train_epoch_end(self, trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)
            assert len(read_events(path)) == trainer.current_epoch + 1

    fit(foreign.Module(), [EventLog(str(path)), Look()])


def test_a_resumed_run_appends_even_after_a_torn_line(foreign, fit, tmp_path):
    path = tmp_path / "events.jsonl"
    trainer = fit(foreign.Module(), [Publish(), EventLog(str(path))])
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with path.open("a") as file:
        file.write('{"kind": "torn", "rea')
    fit(foreign.Module(), [Publish(), EventLog(str(path))], resume=tmp_path / "a.ckpt", max_epochs=4)
    assert [event["reason"] for event in read_events(path)] == [f"epoch {epoch}" for epoch in range(4)]
    assert len(path.read_text().splitlines()) == 5


def test_only_rank_zero_writes_and_a_dev_run_does_not(foreign, fit, tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    fit(foreign.Module(), [Publish(), EventLog(str(path))], fast_dev_run=True)
    monkeypatch.setattr("lightning.pytorch.Trainer.is_global_zero", False)
    fit(foreign.Module(), [Publish(), EventLog(str(path))])
    assert not path.exists()


def test_no_events_no_file(foreign, fit, tmp_path):
    fit(foreign.Module(), [EventLog(str(tmp_path / "events.jsonl"))])
    assert not (tmp_path / "events.jsonl").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_stops_the_run_in_that_step(foreign, fit, tmp_path):
    path = tmp_path / "events.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(FileError, match=r"events\.jsonl: cannot be written: the disk is full"):
        fit(foreign.Module(), [Publish(), EventLog(str(path))])


def test_a_removed_folder_is_not_created_again(foreign, fit, tmp_path):
    path = tmp_path / "run" / "events.jsonl"

    class Remove(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                shutil.rmtree(path.parent)

    with pytest.raises(FileError, match="run is gone; was it removed or unmounted"):
        fit(foreign.Module(), [Remove(), Publish(), EventLog(str(path))])
    assert not path.parent.exists()


def test_a_stopping_run_reports_its_original_reason(foreign, fit, tmp_path, caplog):
    path = tmp_path / "run" / "events.jsonl"

    class Fail(Publish):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                shutil.rmtree(path.parent)
                raise KeyError("a bug")

        def on_exception(self, trainer, pl_module, exception):
            publish(trainer, "stop", "a bug")

    with pytest.raises(KeyError, match="a bug"):
        fit(foreign.Module(), [Fail(), EventLog(str(path))])
    assert "could not write an event: " in caplog.text
