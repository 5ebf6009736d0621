"""Commands that write twice into the same folder do not mix two runs."""

import json

import pandas as pd
import pytest

from tests.integration.forked import run_module
from vestim_pl.reports.run_folder import RunFolder


def run(command, folder, *overrides):
    return run_module(folder, f"vestim_pl.{command}", *overrides)


@pytest.fixture
def given(recordings, small):
    return ["data=folder", f"data.root={recordings}", *small, "trainer.max_epochs=1"]


def test_a_second_run_leaves_the_first_whole_beside_it_and_a_resumed_one_continues(tmp_path, given):
    folder = tmp_path / "run"
    first = run("train", tmp_path, *given, f"hydra.run.dir={folder}")
    assert first.returncode == 0, first.stderr
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    second = run("train", tmp_path, *given, "seed=1", f"hydra.run.dir={folder}")
    assert f"{folder} held an earlier run, which is now in {folder}/earlier-1" in second.stdout
    assert {name: (folder / "earlier-1" / name).read_bytes() for name in before} == before
    assert (folder / "train.log").read_text().count("epoch 0: train") == 1
    assert len(RunFolder.read(folder).metrics.query("key == 'val/rmse_mv'")) == 1
    stops = [event for event in map(json.loads, (folder / "events.jsonl").open()) if event["kind"] == "stop"]
    assert len(stops) == 1

    last = folder / "checkpoints" / "last.ckpt"
    resumed = run("train", tmp_path, *given, "seed=1", "trainer.max_epochs=2", f"ckpt_path={last}")
    assert resumed.returncode == 0, resumed.stderr
    assert "held an earlier run" not in resumed.stdout
    assert RunFolder.read(folder).metrics.query("key == 'val/rmse_mv'")["epoch"].tolist() == [0, 1]

    refused = run("evaluate", tmp_path, f"ckpt_path={last}", f"hydra.run.dir={folder}")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: hydra.run.dir: ")
    assert len(refused.stderr.splitlines()) == 1
    assert "optimizer" in (folder / ".hydra" / "config.yaml").read_text()


def test_a_second_sweep_leaves_the_jobs_of_the_first_beside_it(tmp_path, given):
    folder = tmp_path / "sweep"
    for seed in ("3,4", "5"):
        done = run("train", tmp_path, "-m", *given, f"seed={seed}", "test=false", f"hydra.sweep.dir={folder}")
        assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(folder / "sweep.csv")) == 1
    assert (folder / "0" / ".hydra" / "overrides.yaml").read_text().count("seed=5") == 1
    assert not (folder / "1").exists()
    assert sorted(path.name for path in (folder / "earlier-1").iterdir()) == [
        "0",
        "1",
        "multirun.yaml",
        "sweep.csv",
        "sweep.html",
    ]
    assert f"{folder} held an earlier run, which is now in {folder}/earlier-1" in done.stdout
