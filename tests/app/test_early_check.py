"""The check from source: the same messages as the full check, and nothing refused that the full check accepts."""

import pytest
import torch

from tests.composing import compose
from vestim_pl.app import early_check
from vestim_pl.app.configuration import check, choices
from vestim_pl.app.early_check import NETWORK_SOURCES, check_before_import
from vestim_pl.errors import ConfigurationError
from vestim_pl.networks import NETWORKS
from vestim_pl.settings.arguments import argument_types
from vestim_pl.settings.source_types import source_signature

GROUPS = [
    f"{group}={choice}"
    for group in ("network", "sampling", "optimizer", "scheduler", "logger", "trainer", "data")
    for choice in choices(group)
]
ACCEPTED = [
    *([f"+preset={name}"] for name in choices("preset")),
    *([override, "data.root=somewhere"] for override in GROUPS),
    *([f"callbacks=[{','.join(dict.fromkeys([name, 'default']))}]"] for name in choices("callbacks")),
    ["trainer.devices=[0,1]"], ["trainer.devices='0,1'"], ["trainer.precision=mixed"], ["trainer.precision=16"],
    ["+trainer.max_time=00:01:00:00"], ["+trainer.max_time={hours:1}"], ["+trainer.fast_dev_run=3"],
    ["+trainer.strategy=ddp"], ["+trainer.limit_train_batches=0.5"], ["+trainer.profiler=simple"],
    ["trainer.gradient_clip_val=null"], ["trainer.gradient_clip_val=1"], ["+trainer.overfit_batches=2"],
    ["optimizer.name=SGD", "+optimizer.momentum=0.9", "+optimizer.nesterov=true"], ["optimizer.lr=1"],
    ["optimizer.name=RMSprop"], ["+optimizer.betas=[0.9,0.99]"], ["+optimizer.foreach=null"],
    ["network.hidden_sizes=[8,4]", "network.dropout=0", "network.forget_bias=chrono", "network.direct=[4]"],
    ["network=lstm_lpf", "network.taps=3"], ["network.members=3"], ["~network.lookback"],
    ["scheduler=cosine_warm_restarts", "scheduler.t0=2"], ["scheduler=cosine", "scheduler.min_factor=0.1"],
    ["data=folder", "data.root=somewhere", "data.features=[SOC,Current]"], ["data.rc_pairs=[5,50]"],
    ["+data.num_workers=2"], ["callbacks.early_stopping=null"], ["callbacks.early_stopping.patience=3"],
    ["+callbacks.lr={_target_:lightning.pytorch.callbacks.LearningRateMonitor,logging_interval:step}"],
    ["+callbacks.mine={_target_:fractions.Fraction,numerator:1}"],
    ["logger.csv=null"], ["checkpoint_every=null"], ["checkpoint_every='500 steps'"], ["seed=7", "test=false"],
]  # fmt: skip


@pytest.mark.parametrize("overrides", ACCEPTED, ids=" ".join)
def test_every_preset_and_choice_passes_both_checks(overrides, monkeypatch):
    config = compose(*overrides)
    with monkeypatch.context() as patch:
        patch.setattr("vestim_pl.app.configuration.check_before_import", lambda config: None)
        try:
            check(config)
        except ConfigurationError as error:
            pytest.fail(f"this case is no valid one: {error}")
    check_before_import(config)


REFUSED = [
    "+sampling.lokback=3", "+network.droput=0.1", "+optimizer.weight_decey=0.1", "+trainer.max_epoch=3",
    "+callbacks.step_guard.max_skips=1", "+data.columns.volts=U", "sampling.lookback=long", "sampling.lookback=1.5",
    "network.hidden_sizes=32", "network.hidden_sizes=[a]", "network.layer_norm=3", "optimizer.lr=fast",
    "trainer.max_epochs=many", "data.on_bad_file=ignore", "scheduler=step +scheduler.perod=2",
    "scheduler=cosine scheduler.min_factor=low", "network=transformer network.heads=many",
]  # fmt: skip


@pytest.mark.parametrize("override", REFUSED)
def test_a_mistake_has_the_message_of_the_full_check(override, monkeypatch):
    config = compose(*override.split())
    with pytest.raises(ConfigurationError) as early:
        check_before_import(config)
    monkeypatch.setattr("vestim_pl.app.configuration.check_before_import", lambda config: None)
    with pytest.raises(ConfigurationError) as full:
        check(config)
    assert str(early.value) == str(full.value)


@pytest.mark.parametrize("name", NETWORKS)
def test_options_of_every_network_are_those_of_the_registry(name):
    assert set(NETWORK_SOURCES) == set(NETWORKS)
    assert early_check._network_options(name).keys() == NETWORKS[name].options().keys()


def test_an_option_of_another_network_is_left_to_the_registry_which_explains_it():
    config = compose("+network.taps=9")
    check_before_import(config)
    with pytest.raises(ConfigurationError, match=r"network\.taps: no such key for LSTM \(only for LSTM_LPF\)"):
        check(config)


@pytest.mark.parametrize("name", [n for n in vars(torch.optim) if n[0].isupper() and n != "Optimizer"])
def test_arguments_of_every_optimizer_are_those_that_an_import_finds(name):
    assert source_signature(f"torch.optim.{name}").types.keys() == argument_types(getattr(torch.optim, name)).keys()
