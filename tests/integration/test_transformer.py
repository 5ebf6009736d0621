"""``network=transformer`` on the command line: presets, callbacks, crash bundles, precisions, diagnosis."""

import json
import math

import pytest
import torch
from torch.utils.data import DataLoader

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import fit
from tests.integration.test_estimator_fault_matrix import batches
from tests.pairs import pairwise
from vestim_pl.app.configuration import check
from vestim_pl.callbacks import CrashBundle, DivergenceRecovery, FiniteParameterGuard, StepGuard
from vestim_pl.callbacks.crash_bundle.reading import read_bundle
from vestim_pl.callbacks.crash_bundle.replaying import replay_bundle
from vestim_pl.deploy.checkpoint import load_estimator
from vestim_pl.diagnose import diagnose
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.train import train

QUICK = ["network=transformer", "network.hidden_sizes=[8]", "sampling.lookback=20", "trainer.accelerator=cpu"]
FORGET = "~network.forget_bias"
NORM = "network.layer_norm=true"


@pytest.mark.parametrize(
    ("preset", "refusals"),
    [
        ("safer", []),
        ("more_capacity", []),
        ("long_lookback", []),
        ("resilient", []),
        ("fast", [FORGET, NORM]),
        ("accurate", [FORGET, NORM]),
        ("guide_baseline", ["network.heads=2", NORM]),
    ],
)
def test_a_preset_goes_with_it_or_is_refused_with_what_would_work(compose, preset, refusals):
    overrides = ["network=transformer", f"+preset={preset}", "trainer.accelerator=cpu"]
    for override in refusals:
        with pytest.raises(ConfigurationError) as caught:
            check(compose(*overrides))
        assert override in str(caught.value)
        assert "\n" not in str(caught.value)
        overrides.append(override)
    config = compose(*overrides)
    check(config)
    assert config.network.name == "Transformer"
    assert config.network.lookback == config.sampling.lookback


def events(folder):
    return [json.loads(line) for line in (folder / "run" / "events.jsonl").read_text().splitlines()]


def test_every_stability_callback_of_the_resilient_preset_runs(compose, tmp_path):
    train(compose("+preset=resilient", *QUICK, "trainer.max_epochs=2", "callbacks.lookback_warmup.start=5"))
    flows = [event for event in events(tmp_path) if event["kind"] == "gradient_flow"]
    assert flows
    assert "network.layers.0" in flows[0]["reason"]
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


def test_the_adaptive_lookback_keeps_windows_whole_where_attention_reads_all_of_them(compose, tmp_path):
    train(compose("callbacks=[default,adaptive_lookback]", *QUICK, "trainer.max_epochs=1", "sampling.batch_size=64"))
    assert not [event for event in events(tmp_path) if event["kind"] == "lookback"]
    logged = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    column = logged[0].split(",").index("adaptive_lookback/steps")
    steps = {line.split(",")[column] for line in logged[1:]} - {""}
    assert steps == {"20.0"}


@pytest.mark.parametrize("sampling", ["windows", "streams"])
@pytest.mark.parametrize("overrides", [["trainer.precision=bf16-mixed"], ["network.members=2", "network.direct=[4]"]])
def test_it_trains_in_every_mode_and_the_checkpoint_gives_back_its_errors(compose, tmp_path, sampling, overrides):
    run = train(compose(f"sampling={sampling}", *QUICK, "trainer.max_epochs=2", "optimizer.lr=0.003", *overrides))
    assert 0 < run.best_val_rmse_mv < 250
    estimator = load_estimator(tmp_path / "run" / "checkpoints" / "best.ckpt")
    volts, state = estimator(torch.zeros(2, 30, len(estimator.hparams["features"])))
    assert torch.isfinite(volts).all()
    assert all(tensor.dtype == torch.float32 for tensor in state)


def test_checkpoints_of_windows_carry_no_cache(compose, tmp_path):
    train(compose("sampling=windows", *QUICK, "trainer.max_epochs=1"))
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["carried_state"] is None


@pytest.mark.parametrize(
    ("site", "mode", "guards"),
    pairwise(
        ["input", "activation", "gradient", "parameter"],
        ["windows", "streams"],
        [(), (StepGuard, FiniteParameterGuard, DivergenceRecovery)],
    ),
)
def test_a_fault_is_named_in_its_bundle_and_the_replay_finds_it(site, mode, guards, tmp_path):
    spec = {"name": "Transformer", "hidden_sizes": [4, 4], "heads": 2, "lookback": 5}
    estimator = VoltageEstimator(["SOC", "Current", "Temp"], spec)
    estimator.scaler.fit(torch.randn(100, 3), 3.7 + 0.1 * torch.randn(100))
    estimator.train_dataloader = lambda: DataLoader(list(batches(mode)), batch_size=None)
    injector = FaultInjector(site, math.nan, 3, layer="network.head")
    callbacks = [injector, CrashBundle(str(tmp_path), max_bundles=1), *(guard() for guard in guards)]
    fit(estimator, callbacks, accumulate_grad_batches=2, max_steps=2)
    if guards:
        assert all(torch.isfinite(parameter).all() for parameter in estimator.parameters())
    bundle = read_bundle(next(tmp_path.glob("*.pt")))
    assert bundle["summary"]["not_located"] == ""
    replay = replay_bundle(bundle)
    assert replay.notes == []
    if site in ("input", "parameter"):
        assert replay.trace.origin.frame.name.startswith("3.inputs" if site == "input" else "network.")


def test_diagnosis_looks_at_the_span_of_attention(compose_diagnose):
    found = {each.check: each for each in diagnose(compose_diagnose("network=transformer", "network.hidden_sizes=[8]"))}
    assert "gradient memory" not in found
    assert "99 % of the attention lies within the last" in found["attention span"].evidence
    assert found["capacity"].severity == "ok"
    assert "LSTM" not in found["dropout"].evidence
    short = diagnose(compose_diagnose("network=transformer", "network.hidden_sizes=[8]", "network.lookback=5"))
    [warned] = [each for each in short if each.check == "attention span"]
    assert (warned.severity, warned.override) == ("warning", "network.lookback=20")
