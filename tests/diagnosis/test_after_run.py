"""A run folder for each story, written as a training would have left it."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from vestim_pl.diagnosis.after_run import diagnose_run, quick_test_run, target_std_mv
from vestim_pl.diagnosis.finding import Finding
from vestim_pl.reports.run_folder import RunFolder

EPOCHS = 20


def write_run(
    path: Path,
    val: list[float],
    *,
    rates: list[float] | None = None,
    norms: list[float] | None = None,
    clip_fraction: float = 0.1,
    events: tuple[dict[str, object], ...] = (),
    estimated: np.ndarray | None = None,
    std: float | None = None,
) -> Path:
    (path / ".hydra").mkdir(parents=True)
    config = "optimizer: {lr: 0.001}\ntrainer: {max_epochs: 20, gradient_clip_val: 0.5}\n"
    (path / ".hydra" / "config.yaml").write_text(config)
    rows: list[dict[str, float]] = []
    for epoch, rmse in enumerate(val):
        step = 100 * epoch + 99
        rate = 1e-3 if rates is None else rates[epoch]
        norm = 1.0 if norms is None else norms[epoch]
        rows.append({"epoch": epoch, "step": step, "learning_rate": rate, "grad_norm/pre_clip": norm})
        rows.append({"epoch": epoch, "step": step, "grad_norm/clip_fraction": clip_fraction, "grad_norm/p90": 1.5})
        rows.append({"epoch": epoch, "step": step, "val/rmse_mv": rmse})
    names = ["epoch", "step", "learning_rate", "grad_norm/pre_clip", "grad_norm/clip_fraction", "grad_norm/p90"]
    with (path / "metrics.csv").open("w", newline="") as file:  # as Lightning: a NaN is a word, an empty cell is none
        writer = csv.DictWriter(file, [*names, "val/rmse_mv"])
        writer.writeheader()
        writer.writerows(rows)
    if events:
        (path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    if estimated is not None:
        frame = pd.DataFrame({"recording": "a", "time": np.arange(500.0), "measured": MEASURED, "estimated": estimated})
        frame.to_parquet(path / "test_steps.parquet", index=False)
    if std is not None:
        (path / "checkpoints").mkdir()
        state = {"state_dict": {"scaler.target_std": torch.tensor(std)}}
        torch.save(state, path / "checkpoints" / "best.ckpt")
    return path


MEASURED = 3.7 + 0.2 * np.sin(np.linspace(0, 12 * np.pi, 500))


def story(path: Path) -> dict[str, Finding]:
    return {finding.check: finding for finding in diagnose_run(RunFolder.read(path))}


def test_the_monitors_judge_a_run_that_trained(tmp_path):
    found = story(write_run(tmp_path / "run", list(np.linspace(100, 12, EPOCHS)), std=0.141))
    assert {name: found[name].severity.value for name in ("loss", "non-finite", "validation", "epoch time")} == {
        "loss": "note", "non-finite": "ok", "validation": "ok", "epoch time": "note",
    }  # fmt: skip


def test_an_evaluation_is_not_judged_by_the_monitors(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,test/rmse_mv\n0,0,12.0\n")
    assert not {"loss", "non-finite", "validation", "epoch time"} & set(story(tmp_path))


def graver_than_ok(path: Path) -> dict[str, str]:
    return {name: each.severity.value for name, each in story(path).items() if each.severity not in ("ok", "note")}


def test_a_run_that_went_well_has_no_finding(tmp_path):
    run = write_run(tmp_path / "run", list(np.linspace(100, 12, EPOCHS)), estimated=MEASURED + 0.012, std=0.141)
    assert graver_than_ok(run) == {}
    assert story(run)["end of the run"].evidence.startswith("finished")


@pytest.mark.parametrize("tested", [True, False])
def test_a_plateau_at_a_constant_prediction(tmp_path, tested):
    flat = np.full(500, 3.7) if tested else None
    run = write_run(tmp_path / "run", [141.0] * EPOCHS, estimated=flat, std=0.141)
    assert graver_than_ok(run) == {"constant prediction": "error", "validation": "warning"}
    assert "141 mV" in story(run)["constant prediction"].evidence
    assert story(run)["constant prediction"].override == "optimizer.lr=0.01"


def test_a_divergence_and_its_signs(tmp_path):
    end = {"kind": "non_finite", "reason": "model parameters became NaN/Inf after optimizer step", "step": 1950}
    burst = {"kind": "clip_burst", "reason": "clipping engaged in 100 %", "step": 1799}
    norms = [1.0] * 17 + [4.0, 20.0]
    val = list(np.linspace(100, 40, EPOCHS - 1))
    run = write_run(tmp_path / "run", val, norms=norms, events=(burst, end), std=0.141)
    assert graver_than_ok(run) == {"end of the run": "error", "divergence": "error", "non-finite": "error"}
    evidence = story(run)["divergence"].evidence
    assert evidence.startswith("diverged at step 1950; signs before: ")
    assert "model parameters became NaN/Inf" in story(run)["end of the run"].evidence
    assert "1 x clip burst from step 1799 on" in evidence
    assert "grew from a median of 1 to 20 (step 1899)" in evidence
    assert story(run)["divergence"].override == "optimizer.lr=0.0001"


def test_a_divergence_without_events_shows_in_the_metrics(tmp_path):
    run = write_run(tmp_path / "run", [100.0, 80.0, math.nan], std=0.141)
    assert graver_than_ok(run) == {"end of the run": "error", "divergence": "error", "non-finite": "error"}
    assert "at step 299" in story(run)["divergence"].evidence


def test_over_clipping(tmp_path):
    run = write_run(tmp_path / "run", list(np.linspace(100, 50, EPOCHS)), clip_fraction=1.0, std=0.141)
    assert graver_than_ok(run) == {"over-clipping": "warning"}
    assert story(run)["over-clipping"].override == "trainer.gradient_clip_val=1.5"


def test_an_exhausted_learning_rate(tmp_path):
    rates = [1e-3] * 8 + [1e-6] * 12
    plateau = {"kind": "plateau", "reason": "no better", "step": 799}
    run = write_run(tmp_path / "run", [100.0] * EPOCHS, rates=rates, events=(plateau,), std=0.141)
    assert graver_than_ok(run) == {"learning rate left": "warning", "validation": "warning"}
    assert "60 % of the logged steps" in story(run)["learning rate left"].evidence


def test_an_interrupted_run(tmp_path):
    interrupt = {"kind": "interrupt", "reason": "interrupted after step 350; saved last.ckpt", "step": 350}
    run = write_run(tmp_path / "run", [100.0, 80.0, 60.0], events=(interrupt,), std=0.141)
    (run / "checkpoints" / "last.ckpt").touch()
    assert graver_than_ok(run) == {}
    ending = story(run)["end of the run"]
    assert ending.severity == "note"
    assert ending.override == f"ckpt_path={run}/checkpoints/last.ckpt"


def test_a_run_that_left_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    assert set(story(tmp_path / "run")) == {"end of the run", "divergence"}


def test_a_checkpoint_that_is_none_leaves_the_deviation_unknown(tmp_path):
    assert math.isnan(target_std_mv(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").write_text("no checkpoint")
    assert math.isnan(target_std_mv(tmp_path))
    torch.save({"state_dict": {"scaler.target_std": torch.tensor(0.067)}}, tmp_path / "checkpoints" / "last.ckpt")
    assert target_std_mv(tmp_path) == pytest.approx(67.0)


def test_one_table_has_one_rate_and_no_threshold_of_a_divergence(tmp_path):
    """A recovery cut the rate to a tenth, the run continued, and it learnt only a constant."""
    rollback = {"kind": "rollback", "reason": "the loss is at 2833", "step": 4, "values": {"learning_rate_after": 1e-6}}
    run = write_run(tmp_path / "run", [150.0] * EPOCHS, clip_fraction=1.0, events=(rollback,), std=0.141)
    found = story(run)
    assert found["constant prediction"].override == "optimizer.lr=1e-05"
    assert found["divergence"].override == ""
    assert found["divergence"].evidence.endswith("; for optimizer.lr see constant prediction")
    assert (found["over-clipping"].severity, found["over-clipping"].override) == ("warning", "")


def timed_parts(path: Path, *seconds: list[float]) -> Path:
    """Metrics of a run that was resumed: a file of each process."""
    path.mkdir()
    epoch = 0
    for number, part in enumerate(seconds, 1):
        rows = ["epoch,step,epoch/training_seconds"]
        for value in part:
            rows.append(f"{epoch},{10 * epoch + 9},{value}")
            epoch += 1
        name = "metrics.csv" if number == len(seconds) else f"metrics.{number}.csv"
        (path / name).write_text("\n".join(rows) + "\n")
    return path


def test_every_part_of_a_resumed_run_is_timed_by_itself(tmp_path):
    steady = timed_parts(tmp_path / "steady", [1.0] * 10, [9.0] * 10)
    slowed = timed_parts(tmp_path / "slowed", [1.0] * 10, [2.0] * 5 + [9.0] * 5)
    verdicts = [quick_test_run(RunFolder.read(run))[-1].severity.value for run in (steady, slowed)]
    assert verdicts == ["ok", "warning"]


def test_more_processor_time_suggests_the_callback_that_the_run_was_without(tmp_path):
    run = timed_parts(tmp_path / "run", [1.0] * 5 + [9.0] * 5)
    text = (run / "metrics.csv").read_text().splitlines()
    cpu = ["epoch/training_cpu_seconds", *["1.0"] * 5, *["9.0"] * 5]
    (run / "metrics.csv").write_text("\n".join(f"{line},{value}" for line, value in zip(text, cpu, strict=True)) + "\n")
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").write_text(
        "callbacks: {flush_denormals: null, keep_freed_memory: {_target_: vestim_pl.callbacks.KeepFreedMemory}}\n"
    )
    finding = quick_test_run(RunFolder.read(run))[-1]
    assert finding.override == "'callbacks.flush_denormals={_target_:vestim_pl.callbacks.FlushDenormals}'"
