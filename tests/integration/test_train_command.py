"""The train command as its user runs it: what it prints, writes, returns, and how it resumes and fails."""

import json
import math
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from tests.integration.forked import run_module
from tests.pairs import rows_in_turn
from vestim_pl.app.configuration import choices
from vestim_pl.deploy.checkpoint import load_estimator
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.train import main, train


def run_train(folder: Path, *overrides: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = run_module(folder, "vestim_pl.train", *overrides)
    assert not check or done.returncode == 0, done.stderr
    return done


def run_folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("outputs/*/*/provenance.json"))


@pytest.fixture
def on_recordings(recordings, small) -> list[str]:
    return ["data=folder", f"data.root={recordings}", *small]


def test_command_leaves_metrics_checkpoints_events_report_and_a_table(tmp_path, on_recordings):
    done = run_train(tmp_path, "+preset=safer", *on_recordings)
    assert "overall" in done.stdout
    assert "RMSE" in done.stdout
    [run] = run_folders(tmp_path)
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert {
        "checkpoints/best.ckpt", "checkpoints/last.ckpt", "metrics.csv", "events.jsonl", "train.log", "report.html",
        "provenance.json", "test_errors.csv", "test_steps.parquet", ".hydra/config.yaml", ".hydra/overrides.yaml",
    } <= names  # fmt: skip
    log = (run / "train.log").read_text()
    assert "Traceback" not in done.stderr + log
    epochs = [line for line in done.stdout.splitlines() + log.splitlines() if "val" in line and "mV" in line]
    assert epochs, "no line an epoch"
    for line in (run / "events.jsonl").read_text().splitlines():
        assert {"kind", "reason", "epoch", "step"} <= set(json.loads(line))
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["versions"]["torch"] == torch.__version__


def test_table_is_the_error_of_the_best_checkpoint_on_the_test_split(compose, small, tmp_path):
    run = train(compose(*small))
    steps = pd.read_parquet(tmp_path / "run" / "test_steps.parquet")
    best = VoltageEstimator.load_from_checkpoint(run.best_checkpoint, weights_only=True).eval()
    table = run.datamodule.table("test")
    rows = table.recording("g_25degC")
    inputs, measured = table.inputs[rows], table.target[rows]
    windows = inputs.unfold(0, 20, 1).transpose(1, 2)
    with torch.no_grad():
        estimated = best(windows)[0][:, -1]
    error = (estimated - measured[19:]).double() * 1000
    row = run.test_errors.set_index("recording").loc["g_25degC"]
    assert row["steps"] == len(error) == (steps["recording"] == "g_25degC").sum()
    assert row["rmse_mv"] == pytest.approx(float(error.square().mean().sqrt()), rel=1e-3)
    overall = run.test_errors.set_index("recording").loc["overall"]
    assert overall["steps"] == len(steps)


@pytest.mark.parametrize("sampling", ["windows", "streams"])
@pytest.mark.parametrize("evaluation", ["windows", "streams"])
def test_both_samplings_offer_both_evaluations_and_say_which(compose, tmp_path, capsys, sampling, evaluation):
    run = train(
        compose(
            f"sampling={sampling}",
            "sampling.lookback=20",
            f"sampling.evaluation={evaluation}",
            "sampling.burn_in=10",
            "network.hidden_sizes=[4]",
            "trainer.max_epochs=1",
            "trainer.accelerator=cpu",
        )
    )
    assert math.isfinite(run.best_val_rmse_mv)
    said = capsys.readouterr().out
    assert {"windows": "zero state", "streams": "state carried"}[evaluation] in said


def test_training_learns_the_recordings(compose, small):
    run = train(compose(*small, "optimizer.lr=0.02", "trainer.max_epochs=12", "scheduler=cosine"))
    voltage = run.datamodule.table("val").target
    assert run.best_val_rmse_mv < 0.5 * float(voltage.std()) * 1000


def test_same_seed_same_figures_and_another_seed_others(compose, small, tmp_path):
    figures = [train(compose(*small, f"run_dir={tmp_path / str(n)}", f"seed={seed}")).best_val_rmse_mv
               for n, seed in enumerate([3, 3, 4])]  # fmt: skip
    assert figures[0] == figures[1] != figures[2]


def test_resumed_run_equals_one_never_stopped(compose, small, tmp_path):
    options = [*small, "+preset=safer", "network.hidden_sizes=[6]", "sampling.lookback=20", "test=false"]
    whole = train(compose(*options, f"run_dir={tmp_path / 'whole'}", "trainer.max_epochs=3"))
    train(compose(*options, f"run_dir={tmp_path / 'parts'}", "trainer.max_epochs=2"))
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    parts = train(compose(*options, f"run_dir={tmp_path / 'parts'}", "trainer.max_epochs=3", f"ckpt_path={last}"))
    for (name, a), b in zip(whole.estimator.state_dict().items(), parts.estimator.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert whole.best_val_rmse_mv == parts.best_val_rmse_mv
    assert (tmp_path / "parts" / "metrics.1.csv").is_file(), "the metrics so far were lost"


def test_an_ensemble_fed_with_rc_pairs_resumed_in_mid_epoch_equals_one_never_stopped(compose, tmp_path):
    options = [
        "sampling=streams", "sampling.lookback=20", "sampling.lanes=2", "sampling.burn_in=5", "scheduler=none",
        "network.hidden_sizes=[4]", "network.members=2", "data.rc_pairs=[5,50]", "test=false",
        "trainer.accelerator=cpu",
    ]  # fmt: skip
    whole = train(compose(*options, f"run_dir={tmp_path / 'whole'}", "trainer.max_epochs=2"))
    train(compose(*options, f"run_dir={tmp_path / 'parts'}", "trainer.max_epochs=2", "+trainer.max_steps=37"))
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 37
    parts = train(compose(*options, f"run_dir={tmp_path / 'parts'}", "trainer.max_epochs=2", f"ckpt_path={last}"))
    for (name, a), b in zip(whole.estimator.state_dict().items(), parts.estimator.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    estimator, rows = load_estimator(parts.best_checkpoint), parts.datamodule.table("test").inputs[None, :100]
    with torch.no_grad():  # a checkpoint alone takes amperes
        torch.testing.assert_close(estimator(rows[..., :3])[0], estimator(rows)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampling.lokback=3", "error: sampling.lokback: no such key; did you mean sampling.lookback?"),
        ("sampling.lookback=0", "error: sampling.lookback"),
        ("data.root=nowhere", "error: data.root"),
        ("ckpt_path=nowhere.ckpt", "error: ckpt_path: nowhere.ckpt is not a file"),
        ("run_dir=elsewhere", "choose the folder of a run with hydra.run.dir=elsewhere"),
        ("hydra.run.dir=/dev/null/run", "error: hydra.run.dir: /dev/null/run cannot be made or written to"),
    ],
)
def test_a_mistake_is_one_line_and_a_non_zero_exit(tmp_path, on_recordings, override, message):
    done = run_train(tmp_path, *on_recordings, override, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")][1:] == []


def test_a_missing_root_is_asked_for(tmp_path):
    done = run_train(tmp_path, "data=folder", check=False)
    assert done.returncode == 1
    assert "error: data.root: has no value" in done.stderr


def test_divergence_exits_non_zero_with_the_reason(tmp_path, on_recordings):
    done = run_train(
        tmp_path, *on_recordings, "optimizer.lr=1e38", "optimizer.name=SGD", "callbacks.step_guard=null",
        "callbacks.recovery=null", check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "model parameters became NaN/Inf after optimizer step" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*.ckpt") if is_not_finite(path)]


def is_not_finite(path: Path) -> bool:
    weights = torch.load(path, weights_only=True)["state_dict"].values()
    return not all(bool(torch.isfinite(tensor).all()) for tensor in weights if tensor.is_floating_point())


def test_main_returns_the_best_validation_error_for_sweepers(compose, small):
    assert math.isfinite(main(compose(*small)))


def test_multirun_keeps_its_jobs_apart(tmp_path, on_recordings):
    grid = ["sampling.lookback=10,20", "network.hidden_sizes=[4],[6]"]
    fixed = [
        o for o in on_recordings if not o.startswith(("sampling.lookback", "network.hidden", "trainer.max_epochs"))
    ]
    fixed += ["trainer.max_epochs=1", "+trainer.limit_train_batches=5"]
    run_train(tmp_path, "-m", *grid, *fixed)
    jobs = sorted(path.parent for path in tmp_path.glob("multirun/*/*/*/provenance.json"))
    assert len(jobs) == 4
    alone = run_train(tmp_path, "sampling.lookback=20", "network.hidden_sizes=[6]", *fixed)
    assert alone.returncode == 0
    [single] = run_folders(tmp_path)
    weights = [torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
               for run in (jobs[-1], single)]  # fmt: skip
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_failed_job_of_a_multirun_does_not_stop_the_others(tmp_path, on_recordings):
    done = run_train(tmp_path, "-m", "optimizer.name=Nonsense,Adam", *on_recordings, check=False)
    assert done.returncode == 1
    assert "error: optimizer.name: 'Nonsense'" in done.stderr
    assert len(list(tmp_path.glob("multirun/*/*/1/checkpoints/best.ckpt"))) == 1
    [table] = tmp_path.glob("multirun/*/*/sweep.csv")
    assert pd.read_csv(table).set_index("job")["state"].to_dict() == {1: "finished", 0: "failed"}
    assert table.with_name("sweep.html").is_file()


def test_a_sweep_of_several_processes_a_job_is_refused_before_it_starts_itself_again(tmp_path, on_recordings):
    """Lightning starts the other ranks with the same command line, which would start another sweep under -m."""
    done = run_train(tmp_path, "-m", "seed=0", "trainer.devices=2", *on_recordings, check=False)
    assert done.returncode == 1
    assert "error: trainer.devices: 2 makes 2 processes a job" in done.stderr
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_limit_of_steps_may_end_an_epoch_without_a_validation(compose, small):
    run = train(compose(*small, "+trainer.max_steps=3"))
    assert run.trainer.global_step == 3


def test_mixed_precision_is_chosen_by_the_machine_and_said(compose, small, caplog):
    with caplog.at_level("INFO", logger="vestim_pl"):
        run = train(compose(*small, "trainer.precision=mixed", "+trainer.fast_dev_run=true"))
    assert run.trainer.precision == "bf16-mixed"
    assert "trainer.precision: mixed is bf16-mixed on this machine" in caplog.text


@pytest.mark.parametrize("network", ["lstm", "gru", "lstm_ema", "lstm_lpf", "transformer", "fnn"])
@pytest.mark.parametrize("sampling", ["windows", "streams"])
def test_every_network_trains_in_both_samplings(compose, network, sampling):
    train(
        compose(f"network={network}", f"sampling={sampling}", "+trainer.fast_dev_run=true", "trainer.accelerator=cpu")
    )


GROUPS = ("callbacks", "optimizer", "scheduler", "trainer", "logger", "data")


@pytest.mark.parametrize(GROUPS, rows_in_turn([choices(group) for group in GROUPS]))
def test_every_choice_runs_a_batch(compose, small, callbacks, optimizer, scheduler, trainer, logger, data):
    names = ",".join(dict.fromkeys([callbacks, "default"]))
    chosen = [f"callbacks=[{names}]", f"optimizer={optimizer}", f"scheduler={scheduler}", f"trainer={trainer}"]
    root = ["data.root=demo"] if data == "demo" else []
    clip = ["trainer.gradient_clip_val=null"] if callbacks == "adaptive_clipping" else []
    start = ["callbacks.lookback_warmup.start=5"] if callbacks == "lookback_warmup" else []
    logs = [f"logger={logger}", f"data={data}", *root]
    train(compose(*small, *chosen, *logs, "+trainer.fast_dev_run=true", *clip, *start))


@pytest.mark.parametrize("preset", choices("preset"))
def test_every_preset_runs_a_batch(compose, preset):
    shorter = [] if preset in ("fast",) else ["sampling.lookback=100"]
    train(compose(f"+preset={preset}", "+trainer.fast_dev_run=true", "trainer.accelerator=cpu", *shorter))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("callbacks=[warmup]", "callbacks has no checkpoint"),
        ("scheduler=none +trainer.limit_val_batches=0", "no validation ended"),
    ],
)
def test_a_run_without_a_best_checkpoint_says_that_nothing_was_tested(compose, small, caplog, override, reason):
    caplog.set_level("WARNING", logger="vestim_pl")
    train(compose(*small, *override.split(), "+trainer.limit_train_batches=1", "trainer.max_epochs=1"))
    assert f"nothing was tested: {reason}" in caplog.text
    assert ("this training has no guards" in caplog.text) == override.startswith("callbacks")


def test_a_misspelt_monitor_is_a_mistake_with_the_metrics_there_are(compose, small):
    with pytest.raises(ConfigurationError, match=r"callbacks: .*val/rmse` which is not available.*val/rmse_mv"):
        train(compose(*small, "callbacks.early_stopping.monitor=val/rmse", "+trainer.limit_train_batches=1"))


def test_cosine_without_an_end_is_refused(compose, small):
    with pytest.raises(ConfigurationError, match=r"cosine needs to know the length"):
        train(compose(*small, "scheduler=cosine", "trainer.max_epochs=-1"))


def test_every_file_of_the_configuration_is_in_the_run_folder(tmp_path, on_recordings):
    run_train(tmp_path, *on_recordings, "+trainer.fast_dev_run=true")
    [config] = tmp_path.glob("outputs/*/*/.hydra/config.yaml")
    assert yaml.safe_load(config.read_text())["network"]["hidden_sizes"] == [6]


def test_divergence_error_is_told_apart_from_our_own_bugs():
    assert issubclass(DivergenceError, RuntimeError)


def test_safer_on_the_measured_data_for_a_few_batches(lg_hg2, compose, tmp_path):
    run = train(
        compose(
            "+preset=safer",
            f"data.root={lg_hg2}",
            "trainer.max_epochs=1",
            "+trainer.limit_train_batches=5",
            "sampling.evaluation=streams",
            "trainer.accelerator=cpu",
        )
    )
    assert len(run.test_errors) == 22 + 1
    assert run.datamodule.table("train").rows == 223_088
