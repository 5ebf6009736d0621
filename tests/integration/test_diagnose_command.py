"""The diagnose command: findings before training and on a run folder, and an exit status that tells severity."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from vestim_pl.configuration import check, conf_folder
from vestim_pl.diagnose import command as diagnose_command
from vestim_pl.diagnose import diagnose, exit_status
from vestim_pl.diagnosis import Finding, Severity, measure
from vestim_pl.diagnosis.before_training import flow_probe
from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.train import train
from vestim_pl.trainer import build_trainer


def command(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vestim_pl.diagnose", *overrides],
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture
def compose_diagnose(recordings: Path, small: tuple[str, ...]) -> Callable[..., DictConfig]:
    def _compose(*overrides: str) -> DictConfig:
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
            given = ["data=folder", f"data.root={recordings}", "run_dir=.", *small, *overrides]
            return hydra.compose("diagnose", given)

    return _compose


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_what_failed_is_told_with_overrides_that_mend_it(compose_diagnose, tmp_path, recordings, capsys):
    settings = ("+preset=guide_baseline", "sampling.lookback=200", "sampling.batch_size=64", "network.hidden_sizes=[4]")
    before = sorted(tmp_path.rglob("*"))
    found = by_check(diagnose(compose_diagnose(*settings)))
    assert found["capacity"].severity == "warning"
    assert found["weight decay"].severity == "warning"
    assert sorted(tmp_path.rglob("*")) == before, "before training nothing is written"
    assert "warning  weight decay" in capsys.readouterr().out
    for finding in found.values():
        if finding.override:
            mended = compose_diagnose(*settings, *shlex.split(finding.override))
            check(mended)
    mended = by_check(diagnose(compose_diagnose(*settings, found["weight decay"].override)))
    assert mended["weight decay"].severity == "ok"


@pytest.mark.parametrize(
    ("check_name", "cause"),
    [
        ("gradient clipping", "trainer.gradient_clip_val=0.01"),
        ("gradient clipping", "trainer.gradient_clip_val=null"),
        ("learning rate", "optimizer.lr=10"),
        ("learning rate", "optimizer.lr=1e-7"),
        ("gradient memory", "sampling.lookback=100"),
        ("capacity", "sampling.lookback=150 network.hidden_sizes=[2]"),
        ("capacity", "sampling.lookback=150 network.hidden_sizes=[4]"),
        ("weight decay", ""),
        ("weight decay", "optimizer.name=Rprop ~optimizer.weight_decay"),
        ("weight decay", "optimizer.name=SGD ~optimizer.weight_decay"),
        ("dropout", "network.dropout=0.3"),
        ("mixed precision", "trainer.precision=bf16-mixed"),
        ("time", "trainer.max_epochs=-1"),
    ],
)
def test_the_override_of_a_finding_mends_it(compose_diagnose, check_name, cause):
    found = by_check(diagnose(compose_diagnose(*cause.split())))[check_name]
    if check_name == "mixed precision" and found.severity == "ok":
        pytest.skip("this machine gains from mixed precision")
    assert found.severity in ("note", "warning", "error")
    mended = compose_diagnose(*cause.split(), *found.override.split())
    check(mended)
    after = by_check(diagnose(mended))[check_name]
    assert after.severity.rank < found.severity.rank, f"{found} became {after}"


def test_a_training_of_days_is_told_with_a_setting_that_is_accepted(compose_diagnose):
    """That it would last less than a day at the speed that was measured is shown without a clock in test_cost.py."""
    found = by_check(diagnose(compose_diagnose("trainer.max_epochs=20000000")))["time"]
    assert found.severity == "warning"
    mended = compose_diagnose("trainer.max_epochs=20000000", found.override)
    check(mended)
    assert 0 < mended.trainer.max_epochs < 20_000_000


PRESETS = sorted(path.stem for path in (conf_folder() / "preset").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_override_fits_the_preset_that_it_is_for(recordings, preset):
    """A way out that is refused, as sampling=streams is with a preset for windows, would be none."""
    small = ["sampling.lanes=4"] if preset in ("accurate", "fast") else ["sampling.batch_size=16"]
    given = ["data=folder", f"data.root={recordings}", "run_dir=.", f"+preset={preset}", "sampling.lookback=60"]
    small += ["network.members=3"] if preset == "accurate" else []
    given += [*small, "network.hidden_sizes=[3]", "trainer.accelerator=cpu", "trainer.max_epochs=100000000"]

    def composed(*overrides: str) -> DictConfig:
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return hydra.compose("diagnose", [*given, *overrides])

    findings = diagnose(composed())
    assert [each.severity.rank for each in findings] == sorted((each.severity.rank for each in findings), reverse=True)
    overrides = [finding.override for finding in findings if finding.override]
    assert len(overrides) >= 2
    for override in overrides:
        check(composed(*override.split()))


@pytest.mark.parametrize(
    "overrides",
    [["network=gru"], ["network=fnn"], ["optimizer.name=SGD"], ["+trainer.gradient_clip_algorithm=value"]],
)
def test_every_kind_of_training_is_diagnosed(compose_diagnose, overrides):
    assert len(diagnose(compose_diagnose(*overrides))) == 14


def test_streams_are_diagnosed(recordings, compose_diagnose):
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        given = ["data=folder", f"data.root={recordings}", "sampling=streams", "sampling.lanes=4", "run_dir=."]
        config = hydra.compose("diagnose", [*given, "network.hidden_sizes=[6]", "trainer.accelerator=cpu"])
    found = by_check(diagnose(config))
    assert "of 100 steps" in found["gradient memory"].evidence


def test_data_problems_are_found(compose_diagnose, recordings):
    for file in (recordings / "train").glob("*.parquet"):
        frame = pd.read_parquet(file).assign(Temp=25.0)
        frame["Temp"] = frame["Temp"].astype("float32")
        frame.loc[100:, "Time"] += 30
        frame.to_parquet(file, index=False)
    found = by_check(diagnose(compose_diagnose()))
    assert found["constant columns"].override == "data.features=[SOC,Current]"
    assert "Temp (test 25" in found["test range"].evidence
    assert "the largest is 31 s" in found["sampling interval"].evidence
    again = by_check(diagnose(compose_diagnose(found["constant columns"].override)))
    assert again["constant columns"].severity == "ok"


def test_json_is_written_where_asked(compose_diagnose, tmp_path):
    findings = diagnose(compose_diagnose(f"json={tmp_path / 'found' / 'a.json'}"))
    written = json.loads((tmp_path / "found" / "a.json").read_text())
    assert written["findings"] == [finding.as_dict() for finding in findings]


def test_a_setting_out_of_range_is_refused(compose_diagnose):
    with pytest.raises(ConfigurationError, match=r"^fail_on"):
        diagnose(compose_diagnose("fail_on=sometimes"))


def test_a_folder_that_holds_no_run_is_refused_and_left_as_it_is(compose_diagnose, tmp_path):
    (folder := tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=f"^run: {re.escape(str(folder))} holds no run"):
        diagnose(compose_diagnose(f"run={folder}"))
    assert not list(folder.iterdir())
    with pytest.raises(ConfigurationError, match=r"^run: nowhere is not a folder"):
        diagnose(compose_diagnose("run=nowhere"))


@pytest.mark.parametrize(
    ("severity", "statuses"), [("ok", (0, 0, 0)), ("note", (0, 0, 0)), ("warning", (2, 0, 0)), ("error", (3, 3, 0))]
)
def test_exit_status(severity, statuses):
    assert tuple(exit_status(Severity(severity), fail_on) for fail_on in ("warning", "error", "never")) == statuses


def dead_run(folder: Path) -> Path:
    run = folder / "outputs" / "dead"
    run.mkdir(parents=True)
    event = {"kind": "non_finite", "reason": "model parameters became NaN/Inf after optimizer step", "step": 70}
    (run / "events.jsonl").write_text(json.dumps(event) + "\n")
    return run


def test_the_command_reads_a_dead_run_and_exits_with_its_severity(tmp_path):
    run = dead_run(tmp_path)
    done = command(tmp_path, "run=outputs/dead")
    assert done.returncode == 3, done.stderr
    assert "error    divergence: diverged at step 70" in done.stdout
    assert json.loads((run / "diagnosis.json").read_text())["severity"] == "error"
    assert sorted(path.name for path in run.iterdir()) == ["diagnosis.json", "events.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"]


def test_the_command_before_training_leaves_nothing_behind(tmp_path, recordings, small):
    done = command(tmp_path, "data=folder", f"data.root={recordings}", *small, "optimizer.weight_decay=0")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "warning  weight decay: optimizer.weight_decay is 0" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recordings"]


def test_a_mistake_is_one_line(tmp_path):
    done = command(tmp_path, "optimizer.lrr=1e-3")
    assert done.returncode == 1
    assert done.stderr.strip() == "error: optimizer.lrr: no such key; did you mean optimizer.lr?"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches: 0 is not positive"),
        ("trainer.max_epochs=0", "trainer.max_epochs: 0 trains nothing"),
        ("scheduler=cosine trainer.max_epochs=-1", "scheduler.name: cosine needs to know"),
        ("ckpt_path=/nonexistent.ckpt", "ckpt_path: /nonexistent.ckpt is not a file"),
        ("callbacks=[default,adaptive_clipping]", "trainer.gradient_clip_val: 1.0 would clip a second time"),
        ("callbacks=[default,lookback_warmup]", "LookbackWarmup.start: 50 is longer than the full window of 20"),
        ("callbacks=[default,gradient_flow] network=fnn", "gradient flow: VoltageEstimator calls no nn.LSTM"),
    ],
)
def test_what_train_refuses_is_refused(compose_diagnose, compose, small, overrides, told):
    with pytest.raises(ConfigurationError) as refused:
        diagnose(compose_diagnose(*overrides.split()))
    assert str(refused.value).startswith(told)
    with pytest.raises(ConfigurationError) as trained:
        train(compose(*small, *overrides.split()))
    assert str(trained.value) == str(refused.value)


def test_the_rehearsal_leaves_no_trace(compose_diagnose, tmp_path):
    config = compose_diagnose("callbacks=[crash_bundle,default,gradient_flow]", f"run_dir={tmp_path / 'run'}")
    before, handler = sorted(tmp_path.rglob("*")), signal.getsignal(signal.SIGINT)
    diagnose(config)
    assert sorted(tmp_path.rglob("*")) == before
    assert signal.getsignal(signal.SIGINT) is handler
    assert config.run_dir == str(tmp_path / "run")


def test_several_processes_are_diagnosed_in_one(compose_diagnose):
    one, both = (by_check(diagnose(compose_diagnose(f"trainer.devices={n}")))["time"].evidence for n in (1, 2))
    batches = int(one.partition(" ")[0])
    assert both.startswith(f"{-(-batches // 2)} batches")


def test_the_precision_that_lightning_puts_in_its_place_is_the_one_that_counts(compose_diagnose):
    """On the CPU 16-mixed is bf16-mixed, which scales nothing."""
    with pytest.warns(UserWarning, match="bf16"):
        found = by_check(diagnose(compose_diagnose("trainer.precision=16-mixed", "+optimizer.fused=true")))
    assert found["fused optimizer"].severity == "ok"
    assert "bf16-mixed" in found["mixed precision"].evidence


def test_the_clip_of_the_configuration_is_used_before_training(compose_diagnose, monkeypatch):
    asked = []
    monkeypatch.setattr("vestim_pl.diagnose.measure", lambda *given: asked.append(given[3]) or measure(*given))
    diagnose(compose_diagnose("trainer.gradient_clip_val=0.25"))
    diagnose(compose_diagnose("+trainer.gradient_clip_algorithm=value"))
    bound = ("callbacks=[default,adaptive_clipping]", "trainer.gradient_clip_val=null")
    diagnose(compose_diagnose(*bound, "callbacks.adaptive_clipping.max_norm=0.5"))
    assert asked == [(0.25, "norm"), (1.0, "value"), (0.5, "norm")]


def test_a_multirun_of_several_processes_is_an_error(compose_diagnose, monkeypatch):
    monkeypatch.setattr("vestim_pl.diagnose.is_multirun", lambda: True)
    assert by_check(diagnose(compose_diagnose("trainer.devices=2")))["devices"].severity == "error"


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    dead_run(tmp_path)
    done = command(tmp_path, "run=outputs/dead", "json=/proc/x/y.json")
    assert done.returncode == 1
    assert done.stderr.startswith("error: json: /proc/x/y.json cannot be written: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_gravest_job_of_a_multirun_gives_the_status(monkeypatch):
    jobs = [Severity.WARNING, Severity.ERROR, Severity.OK]
    monkeypatch.setattr("vestim_pl.diagnose.diagnose", lambda config: [Finding("a", config.severity, "")])

    def run(task: Callable[[DictConfig], None], name: str) -> None:
        for severity in jobs:
            task(OmegaConf.create({"severity": severity, "fail_on": "warning"}))

    monkeypatch.setattr("vestim_pl.diagnose.run_command", run)
    with pytest.raises(SystemExit) as ended:
        diagnose_command()
    assert ended.value.code == 3


def test_a_setting_of_what_another_choice_switched_off_is_explained(tmp_path):
    done = command(tmp_path, "+preset=fast", "callbacks.early_stopping.patience=40")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: callbacks.early_stopping.patience: no such key, since another choice switches callbacks.early_stopping"
        " off or replaces it; leave one of them out"
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_the_probe_that_is_named_for_the_gradients_reach_composes(compose_diagnose, preset):
    given = [f"+preset={preset}"] if preset not in ("fast", "accurate") else []
    config = compose_diagnose(
        *given, "trainer.gradient_clip_val=null" if preset == "resilient" else "trainer.devices=1"
    )
    named = flow_probe(OmegaConf.to_container(config.callbacks))
    assert (
        named == "the callback gradient_flow"
        if preset == "resilient"
        else named.startswith("+callbacks.gradient_flow=")
    )
    if preset != "resilient":
        build_trainer(compose_diagnose(*given, named))


RESILIENT = {
    "StepGuard", "FiniteParameterGuard", "DivergenceRecovery", "CrashBundle", "LearningRateWarmup",
    "AdaptiveGradientClipping", "GradientNoise", "LookbackWarmup", "GradientFlowProbe", "GradientNormMonitor",
    "PlateauLearningRate", "EarlyStopping", "GracefulInterrupt", "EventLog", "RandomStateCheckpoint",
}  # fmt: skip


def test_resilient_is_option_1_with_every_stability_callback():
    def composed(preset: str) -> DictConfig:
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return hydra.compose("train", [f"+preset={preset}", "run_dir=."])

    resilient, safer = composed("resilient"), composed("safer")
    names = {node["_target_"].rpartition(".")[2] for node in resilient.callbacks.values() if node is not None}
    assert names >= RESILIENT
    assert resilient.trainer.gradient_clip_val is None
    assert resilient.callbacks.adaptive_clipping.max_norm == safer.trainer.gradient_clip_val == 1.0
    for name in ("network", "optimizer", "sampling", "data"):
        assert resilient[name] == safer[name], name
    assert resilient.trainer.max_epochs == safer.trainer.max_epochs
