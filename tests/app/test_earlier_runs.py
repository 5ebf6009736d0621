"""A used folder: what moves, what stays, what a resumed run keeps."""

import json
import logging

import pytest
import torch

from vestim_pl.app.earlier_runs import LOGS, prepare_folder, resumes, rewind, set_aside
from vestim_pl.reports.run_folder import RunFolder


def write_run(folder, steps, note=""):
    """What a training of some steps leaves: a row of metrics and an event a step, results at the end."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(f"- seed={steps}\n")
    (folder / "checkpoints").mkdir()
    for name in ("best", "last"):
        torch.save({"global_step": steps if name == "last" else 2}, folder / "checkpoints" / f"{name}.ckpt")
    rows = [f'{step // 2},{step},,{10 + step},"a, b{note}"' for step in range(steps)]
    tested = f"0,{steps},5.0,,"
    (folder / "metrics.csv").write_text("\n".join(["epoch,step,test/rmse_mv,val/rmse_mv,note", *rows, tested]) + "\n")
    events = [{"kind": "skip", "reason": f"{note}{step}", "step": step} for step in range(steps + 1)]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    for name in ("train.log", "report.html", "test_errors.csv", "test_steps.parquet", "provenance.json"):
        (folder / name).write_text(f"{name} {note}\n")


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_everything_that_a_run_left_moves_and_nothing_else(tmp_path):
    write_run(tmp_path, 4)
    before = files(tmp_path)
    for name in ("my_notes.txt", "server.log"):
        (tmp_path / name).write_text("mine")
    assert set_aside(tmp_path) == tmp_path / "earlier-1"
    assert files(tmp_path / "earlier-1") == before
    assert files(tmp_path) - {f"earlier-1/{name}" for name in before} == {"my_notes.txt", "server.log"}
    assert set_aside(tmp_path) is None, "an earlier run is no run of this folder"
    write_run(tmp_path, 2)
    assert set_aside(tmp_path) == tmp_path / "earlier-2"


def test_what_hydra_has_just_written_stays_where_a_program_calls_train(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_run(tmp_path, 4)
    prepare_folder(tmp_path, None)
    assert {path.name for path in tmp_path.iterdir()} == {".hydra", "train.log", "earlier-1"}
    assert caplog.messages == [f"{tmp_path} held an earlier run, which is now in {tmp_path / 'earlier-1'}"]
    caplog.clear()
    prepare_folder(tmp_path, None)
    assert not caplog.messages
    assert set(LOGS) >= {".hydra", "train.log"}


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "other.ckpt").write_text("x")
    assert set_aside(tmp_path) is None
    assert set_aside(tmp_path / "nowhere") is None


def test_resumed_from_its_end_a_run_keeps_its_history_and_not_the_test_of_that_end(tmp_path):
    write_run(tmp_path, 4)
    prepare_folder(tmp_path, str(tmp_path / "checkpoints" / "last.ckpt"))
    assert (tmp_path / "metrics.1.csv").read_text().splitlines()[-1] == '1,3,,13,"a, b"'
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 5
    assert not (tmp_path / "test_errors.csv").exists()
    assert "0,4,5.0,," in (tmp_path / "earlier-1" / "metrics.csv").read_text()


def test_resumed_from_an_older_checkpoint_what_came_after_it_is_no_part_of_the_curves(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_run(tmp_path, 6)
    before = {name: (tmp_path / name).read_bytes() for name in ("metrics.csv", "events.jsonl", "checkpoints/last.ckpt")}
    prepare_folder(tmp_path, str(tmp_path / "checkpoints" / "best.ckpt"))
    (tmp_path / "metrics.csv").write_text("epoch,step,train/loss\n1,2,0.5\n")  # it died before it was validated
    run = RunFolder.read(tmp_path)
    validated = run.metrics[run.metrics["key"] == "val/rmse_mv"]
    assert validated["value"].tolist() == [10.0, 11.0]
    assert [event["step"] for event in run.events] == [0, 1, 2]
    assert run.errors is None
    [message] = caplog.messages
    assert message.startswith("resuming at step 2; what this folder held of later steps is in ")
    assert {name: (tmp_path / "earlier-1" / name).read_bytes() for name in before} == before
    assert not (tmp_path / "earlier-1" / "checkpoints" / "best.ckpt").exists()


def test_nothing_after_the_checkpoint_changes_nothing(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,val/rmse_mv\n0,1,5.0\n")
    (tmp_path / "events.jsonl").write_text('{"kind": "interrupt", "step": 2}\n{"torn')
    before = files(tmp_path)
    assert rewind(tmp_path, 2) is None
    assert files(tmp_path) == before


@pytest.mark.parametrize("word", ["auto", "last"])
def test_the_newest_checkpoint_of_a_folder_is_only_resumed_where_there_is_one(tmp_path, word):
    assert not resumes(tmp_path, word)
    write_run(tmp_path, 1)
    assert resumes(tmp_path, word)
