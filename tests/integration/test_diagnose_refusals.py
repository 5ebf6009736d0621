"""Diagnose refuses what train refuses, and leaves no trace."""

import shlex
import signal

import pytest
from omegaconf import OmegaConf

from tests.composing import compose
from tests.integration.diagnose_command import by_check, command, dead_run
from vestim_pl.app.configuration import choices
from vestim_pl.app.early_check import check_before_import
from vestim_pl.app.trainer import build_trainer
from vestim_pl.diagnose import diagnose, main
from vestim_pl.diagnosis import Finding, Severity, measure
from vestim_pl.diagnosis.before_training import flow_probe
from vestim_pl.errors import ConfigurationError
from vestim_pl.train import train

PRESETS = choices("preset")


def checked(task, config):
    """Run a task as its command does, which checks the settings first."""
    check_before_import(config)
    task(config)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches: 0 is not positive"),
        ("trainer.max_epochs=0", "trainer.max_epochs: 0 trains nothing"),
        ("scheduler=cosine trainer.max_epochs=-1", "scheduler.name: cosine needs to know"),
        ("ckpt_path=/nonexistent.ckpt", "ckpt_path: /nonexistent.ckpt is not a file"),
        ("callbacks=[default,adaptive_clipping]", "trainer.gradient_clip_val: 1.0 would clip a second time"),
        ("callbacks=[default,lookback_warmup]", "LookbackWarmup.start: 50 is longer than the full window of 20"),
    ],
)
def test_what_train_refuses_is_refused(compose_diagnose, compose, small, overrides, told):
    with pytest.raises(ConfigurationError) as refused:
        checked(diagnose, compose_diagnose(*overrides.split()))
    assert str(refused.value).startswith(told)
    with pytest.raises(ConfigurationError) as trained:
        checked(train, compose(*small, *overrides.split()))
    assert str(trained.value) == str(refused.value)


def test_a_dry_run_leaves_no_trace(compose_diagnose, tmp_path):
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


def test_the_precision_that_lightning_substitutes_is_the_one_that_counts(compose_diagnose):
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


def test_the_worst_finding_gives_the_status(monkeypatch):
    monkeypatch.setattr("vestim_pl.diagnose.diagnose", lambda config: [Finding("a", config.severity, "")])
    jobs = [Severity.WARNING, Severity.ERROR, Severity.OK]
    settings = {"fail_on": "warning", "checks": "all"}
    assert [main(OmegaConf.create({"severity": each, **settings})) for each in jobs] == [2, 3, 0]


def test_a_setting_of_what_another_choice_switched_off_is_explained(tmp_path):
    done = command(tmp_path, "+preset=fast", "callbacks.early_stopping.patience=40")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: callbacks.early_stopping.patience: no such key, because another override removes or replaces"
        " callbacks.early_stopping; leave one of them out"
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
        else named.startswith("'+callbacks.gradient_flow=")
    )
    if preset != "resilient":
        build_trainer(compose_diagnose(*given, *shlex.split(named)))


RESILIENT = {
    "StepGuard", "FiniteParameterGuard", "DivergenceRecovery", "CrashBundle", "LearningRateWarmup",
    "AdaptiveGradientClipping", "GradientNoise", "LookbackWarmup", "GradientFlowProbe", "GradientNormMonitor",
    "PlateauLearningRate", "EarlyStopping", "GracefulInterrupt", "EventLog", "RandomStateCheckpoint",
}  # fmt: skip


def test_resilient_is_option_1_with_every_stability_callback():
    resilient, safer = compose("+preset=resilient"), compose("+preset=safer")
    names = {node["_target_"].rpartition(".")[2] for node in resilient.callbacks.values() if node is not None}
    assert names >= RESILIENT
    assert resilient.trainer.gradient_clip_val is None
    assert resilient.callbacks.adaptive_clipping.max_norm == safer.trainer.gradient_clip_val == 1.0
    for name in ("network", "optimizer", "sampling", "data"):
        assert resilient[name] == safer[name], name
    assert resilient.trainer.max_epochs == safer.trainer.max_epochs
