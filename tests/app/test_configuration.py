"""The configuration tree: presets exact to the guide, nothing unknown, nothing mistyped."""

from pathlib import Path

import pytest
import torch
from hydra.errors import HydraException
from omegaconf import OmegaConf

from tests.composing import compose
from tests.pairs import in_turn
from vestim_pl.app.configuration import build, check, choices, conf_folder, flat_keys
from vestim_pl.app.override_mistakes import explain
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.schedulers import build_scheduler

OPTION_1 = {
    "sampling.lookback": 200, "network.hidden_sizes": [32], "optimizer.lr": 1e-4, "optimizer.weight_decay": 1e-4,
    "network.dropout": 0.2, "network.layer_norm": True, "trainer.gradient_clip_val": 1.0, "network.name": "LSTM",
}  # fmt: skip
OPTION_2 = {
    "sampling.lookback": 300, "network.hidden_sizes": [64, 32], "optimizer.lr": 5e-5, "optimizer.weight_decay": 1e-4,
    "network.dropout": 0.3, "network.layer_norm": True, "trainer.gradient_clip_val": 1.0,
}  # fmt: skip
OPTION_3 = {
    "sampling.lookback": 400, "network.hidden_sizes": [128, 64], "optimizer.lr": 3e-5, "optimizer.weight_decay": 5e-4,
    "network.dropout": 0.4, "network.layer_norm": True, "trainer.precision": "mixed", "sampling.batch_size": 128,
    "trainer.gradient_clip_val": 1.0,
}  # fmt: skip
BASELINE = {
    "sampling.lookback": 400, "network.hidden_sizes": [10], "optimizer.weight_decay": 0.0, "network.layer_norm": False,
    "trainer.gradient_clip_val": 0.5, "sampling.batch_size": 200, "optimizer.lr": 1e-4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "values"),
    [("safer", OPTION_1), ("more_capacity", OPTION_2), ("long_lookback", OPTION_3), ("guide_baseline", BASELINE)],
)
def test_presets_say_what_the_guide_says(preset, values):
    config = compose(f"+preset={preset}")
    found = {key: OmegaConf.select(config, key) for key in values}
    assert found == values
    assert config.optimizer.name == "Adam"


@pytest.mark.parametrize(("preset", "scheduler"), in_turn(choices("preset"), choices("scheduler")))
def test_every_preset_takes_every_scheduler(preset, scheduler):
    config = compose(f"+preset={preset}", f"scheduler={scheduler}")
    check(config)
    adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    build_scheduler(adam, OmegaConf.to_container(config.scheduler), lambda: 100, lambda: 10)


def test_the_quick_test_is_option_1_over_100_epochs_at_one_rate():
    config = compose("+preset=quick_test")
    assert {key: OmegaConf.select(config, key) for key in OPTION_1} == OPTION_1
    assert (config.trainer.max_epochs, config.scheduler.name) == (100, "none")
    assert config.callbacks.early_stopping is None
    assert "plateau" not in config.callbacks
    assert {"step_guard", "finite_parameters", "recovery"} <= {name for name, node in config.callbacks.items() if node}


def test_safer_has_guard_skip_and_recovery_on():
    callbacks = compose("+preset=safer").callbacks
    assert {"step_guard", "finite_parameters", "recovery"} <= {name for name, node in callbacks.items() if node}


def test_resilient_writes_good_states_to_disk_and_raises_the_rate_again():
    recovery = build(compose("+preset=resilient").callbacks.recovery)
    assert recovery.file.every > 0
    assert recovery.rate.raise_after > 0
    assert recovery.rollbacks.max_attempts > build(compose("+preset=safer").callbacks.recovery).rollbacks.max_attempts


@pytest.mark.parametrize("sampling", choices("sampling"))
def test_callbacks_stand_in_the_order_that_guards_and_recovery_need(sampling):
    names = list(compose(f"sampling={sampling}").callbacks)
    order = ["random_state", "gradient_norm", "step_guard", "finite_parameters", "recovery", "early_stopping"]
    assert [name for name in names if name in order] == order


def test_the_loss_of_streams_is_judged_by_whole_epochs():
    for override in ("sampling=streams", "+preset=fast"):
        recovery = compose(override).callbacks.recovery
        assert recovery.whole_epochs
        assert "spike_ratio" not in recovery
    assert "whole_epochs" not in compose("sampling=windows").callbacks.recovery


@pytest.mark.parametrize("network", choices("network"))
def test_clipping_at_one_is_the_default_for_every_network(network):
    assert compose(f"network={network}").trainer.gradient_clip_val == 1.0


def test_every_line_of_the_tree_that_sets_a_number_says_what_it_does():
    bare = []
    for path in sorted(conf_folder().rglob("*.yaml")):
        if path.parent.name == "preset":
            continue  # presets repeat keys that their group explains
        lines = path.read_text().splitlines()
        assert lines[0].startswith("#"), f"{path.name} does not begin by saying what it is"
        bare += [
            f"{path.name}: {line}"
            for line in lines
            if line.strip().partition(": ")[2][:1].isdigit() and "#" not in line
        ]
    assert not bare


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+sampling.lokback=3", r"sampling\.lokback: no such key; did you mean lookback"),
        ("+network.droput=0.1", r"network\.droput.*did you mean dropout"),
        ("+optimizer.weight_decey=0.1", r"optimizer\.weight_decey: no such key; did you mean weight_decay"),
        ("+trainer.max_epoch=3", r"trainer\.max_epoch: no such key; did you mean max_epochs"),
        ("+callbacks.step_guard.max_skips=1", r"callbacks\.step_guard\.max_skips: no such key; did you mean max_skips"),
        ("+data.columns.volts=U", r"data\.columns\.volts: no such key"),
        ("sampling.lookback=long", r"sampling\.lookback: 'long' does not fit: .*integer"),
        ("sampling.lookback='400'", r"sampling\.lookback: '400' does not fit"),
        ("sampling.lookback=1.5", r"sampling\.lookback: 1\.5 does not fit"),
        ("network.hidden_sizes=32", r"network\.hidden_sizes: 32 does not fit: write a list, \[32\]"),
        ("network.hidden_sizes=[a]", r"network\.hidden_sizes: \['a'\] does not fit"),
        ("network.dropout=1.5", r"network\.dropout: 1\.5 is not in \[0, 1\)"),
        ("callbacks=[default,gradient_flow] +preset=fast", r"callbacks\.warmup: .* add warmup to callbacks="),
        ("network.layer_norm=3", r"network\.layer_norm: 3 does not fit"),
        ("network.name=LTSM", r"network\.name.*LTSM.*did you mean LSTM"),
        ("optimizer.name=Adan", r"optimizer\.name: 'Adan' is not in torch\.optim; did you mean Adam"),
        ("optimizer.lr=fast", r"optimizer\.lr: 'fast' does not fit"),
        ("trainer.max_epochs=many", r"trainer\.max_epochs: 'many' does not fit"),
        ("+presets=safer", r"presets: no such key; did you mean \+preset\?"),
        ("+ckpt_pth_of_another=x", r"choose one of [^.]*$"),
        ("+lookback=100", r"^lookback: no such key; did you mean network\.lookback or sampling\.lookback\?"),
        ("callbacks.early_stopping=false", r"callbacks\.early_stopping: False is no callback; null removes it"),
        ("test=maybe", r"test: 'maybe' does not fit: .*boolean"),
        ("seed=x", r"^seed: 'x' does not fit: .*integer"),
        ("optimizer.lr=-1", r"optimizer\.lr: -1 is not positive; choose"),
        ("optimizer.lr=nan", r"optimizer\.lr: nan is not positive; choose"),
        ("optimizer.weight_decay=-1", r"optimizer: Invalid weight_decay value: -1; see .* torch\.optim\.Adam"),
        ("scheduler=step +scheduler.perod=2", r"scheduler\.perod: no such key; did you mean period"),
        ("scheduler=step scheduler.period=0", r"scheduler\.period: 0 is too small"),
        ("scheduler=cosine_warm_restarts scheduler.eta_min=1", r"scheduler\.eta_min: 1 is not between 0 and .* 0\.001"),
        (
            "data.columns.time=12",
            r"time: 12 does not fit: .*valid string; write 'data\.columns\.time=\"12\"' for a text",
        ),
        ("data.on_bad_file=ignore", r"data\.on_bad_file: 'ignore' does not fit: .*raise.*skip"),
    ],
)
def test_unknown_keys_and_wrong_types_are_refused_with_a_suggestion(override, message):
    with pytest.raises(ConfigurationError, match=message):
        check(compose(*override.split()))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampling.lokback=3", "sampling.lokback: no such key; did you mean sampling.lookback?"),
        ("lookback=3", "lookback: no such key; did you mean network.lookback or sampling.lookback?"),
        ("+preset=safe", "preset=safe: no such choice; did you mean safer?"),
        ("network=lsmt", "network=lsmt: no such choice; did you mean lstm?"),
        ("callbacks=[default,warmpu]", "callbacks=warmpu: no such choice; did you mean warmup?"),
        ("preset=safer", "preset: nothing is chosen yet that this could replace; write +preset=... to add it"),
        ("safer", "safer: is not key=value; did you mean +preset=safer?"),
        ("32]", "32]: is not key=value; write for example trainer.max_epochs=2"),
        ("+preset=safer,fast", "+preset=safer,fast: several values; give one, or add -m to run each"),
        (
            "callbacks=default,warmup",
            "callbacks=default,warmup: several values; give one, add -m to run each, or write"
            " 'callbacks=[default,warmup]'",
        ),
        (
            "data.root=a,b",
            "data.root=a,b: several values; give one, add -m to run each, or write 'data.root=[a,b]' for a list,"
            " 'data.root=\"a,b\"' for a text",
        ),
        (
            "data.columns.time=Test_Time(s)",
            "data.columns.time=Test_Time(s): Hydra cannot read this value; write 'data.columns.time=\"Test_Time(s)\"'",
        ),
    ],
)
def test_mistakes_that_hydra_finds_become_one_line(override, message):
    with pytest.raises(HydraException) as caught:
        compose(override)
    assert explain(caught.value, list(flat_keys(compose()))) == message


def test_folder_of_a_checkout_is_the_top_level_conf():
    assert conf_folder() == Path(__file__).resolve().parents[2] / "conf"
