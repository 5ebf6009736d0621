"""What a resumed run does with settings that have changed: every setting has a decision, and it is the right one."""

import inspect
import logging
import shlex

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.composing import compose
from vestim_pl.app.changed_settings import (
    MISSING,
    Change,
    Rule,
    refuse_changed_settings,
    rule_of,
    settings_of,
)
from vestim_pl.app.conf_tree import choices
from vestim_pl.app.configuration import build
from vestim_pl.errors import ConfigurationError

BASE = ["trainer.accelerator=cpu", "data.root=somewhere"]


def checkpoint_of(*overrides: str, at_end: bool = True):
    settings = settings_of(compose(*BASE, *overrides))
    fit = {
        "epoch_progress": {"current": {"ready": 2, "processed": 2 if at_end else 1}},
        "epoch_loop.batch_progress": {"is_last_batch": at_end},
    }
    return {"hyper_parameters": {}, "settings": settings, "loops": {"fit_loop": fit}}


def resume(before, now, at_end=True):
    refuse_changed_settings("last.ckpt", checkpoint_of(*before, at_end=at_end), settings_of(compose(*BASE, *now)))


APPLIED = [
    "optimizer.lr=1e-6", "optimizer.weight_decay=0.3", "+optimizer.betas=[0.8,0.9]", "+optimizer.fused=true",
    "trainer.max_epochs=99", "trainer.gradient_clip_val=0.1", "trainer.accumulate_grad_batches=4",
    "trainer.precision=mixed", "+trainer.max_steps=10", "callbacks.step_guard.max_skips_per_epoch=3",
    "callbacks.plateau.factor=0.9", "callbacks.early_stopping.patience=3", "callbacks.early_stopping=null",
    "callbacks=[default,warmup]", "network.dropout=0.1", "data.on_bad_file=skip",
    "sampling.evaluation_batch_size=8",
]  # fmt: skip


@pytest.mark.parametrize("override", APPLIED)
def test_a_setting_that_a_resumed_run_uses_is_named(override, caplog):
    caplog.set_level(logging.WARNING, logger="vestim_pl")
    resume([], [override])
    (message,) = caplog.messages
    assert message.startswith("resuming with changed settings: ")
    key = override.partition("=")[0].removeprefix("+")
    assert key in message


REFUSED = [
    (["seed=3"], [], "seed 0 (was 3); repeat seed=3"),
    (["network=gru"], [], "network.name LSTM (was GRU); repeat network=gru"),
    (["network.forget_bias=one"], [], "network.forget_bias zero (was one); repeat network.forget_bias=one"),
    (["optimizer=adamw"], [], "optimizer.name Adam (was AdamW); repeat optimizer.name=AdamW"),
    (
        ["scheduler=step", "scheduler.period=2"],
        [],
        "scheduler.name none (was step); repeat scheduler=step scheduler.period=2 scheduler.factor=0.5",
    ),
    ([], ["scheduler=cosine"], "scheduler.name cosine (was none); repeat scheduler=plateau"),
    (["sampling=streams"], [], "repeat sampling=streams"),
    (["sampling.horizon=1"], [], "sampling.horizon 0 (was 1); repeat sampling.horizon=1"),
    (["data.features=[SOC,'T (degC)']"], [], "repeat 'data.features=[SOC,\"T (degC)\"]'"),
    (["callbacks.plateau.monitor=val/mae_mv"], [], "repeat callbacks.plateau.monitor=val/mae_mv"),
    ([], ["+callbacks.plateau.mode=max"], "callbacks.plateau.mode max (was none); leave out callbacks.plateau.mode"),
    (["+network.other=[4]"], [], "network.other none (was [4]); repeat '+network.other=[4]'"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "now", "message"), REFUSED, ids=[case[2][:40] for case in REFUSED])
def test_a_setting_that_cannot_change_is_refused_with_the_argument_that_repeats_it(before, now, message):
    with pytest.raises(ConfigurationError) as caught:
        resume(before, now)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    suggestion = text.partition("; repeat ")[2].rpartition(", or start")[0]
    for word in shlex.split(suggestion):  # each can be pasted
        assert OverridesParser.create().parse_override(word).key_or_group
    if suggestion:
        compose(*BASE, *now, *shlex.split(suggestion))


def test_what_belongs_to_batches_changes_at_the_end_of_an_epoch_only():
    resume(["sampling.batch_size=64"], [])
    with pytest.raises(ConfigurationError, match=r"within an epoch.*batch_size 256 \(was 64\); repeat sampling\.batch"):
        resume(["sampling.batch_size=64"], [], at_end=False)


def test_unchanged_settings_and_another_place_say_nothing(caplog):
    resume(["data.root=before", "run_dir=before"], ["data.root=now", "run_dir=now"], at_end=False)
    assert not caplog.messages


def test_a_checkpoint_of_an_earlier_version_or_another_program_is_compared_as_far_as_it_goes():
    old = checkpoint_of() | {"settings": "nonsense", "hyper_parameters": {"scheduler": {"name": "step", "period": 9}}}
    with pytest.raises(ConfigurationError, match=r"repeat scheduler=step scheduler\.period=9"):
        refuse_changed_settings("last.ckpt", old, settings_of(compose(*BASE)))
    refuse_changed_settings("last.ckpt", old | {"hyper_parameters": 3}, settings_of(compose(*BASE)))


@pytest.mark.parametrize(
    ("now", "needing"),
    [
        (["+optimizer.amsgrad=true"], r"no max_exp_avg_sq, which optimizer\.amsgrad=true needs"),
        (["optimizer.name=Adam", "+optimizer.amsgrad=true", "optimizer.lr=1"], r"which optimizer\.amsgrad=true needs"),
    ],
)
def test_an_option_that_needs_another_moment_is_refused(now, needing):
    with pytest.raises(ConfigurationError, match=needing):
        resume([], now)


@pytest.mark.parametrize("name", [n for n in vars(torch.optim) if n[0].isupper() and n != "Optimizer"])
def test_the_comparison_of_moments_takes_every_optimizer(name):
    resume([f"optimizer.name={name}"], [f"optimizer.name={name}", "optimizer.lr=1e-6"])


def leaves(prefix, node):
    for key, value in node.items():
        yield from leaves(f"{prefix}{key}.", value) if isinstance(value, dict) else [f"{prefix}{key}"]


def test_every_setting_of_every_shipped_configuration_has_a_rule():
    chosen = [f"{group}={choice}" for group in ("network", "sampling", "scheduler") for choice in choices(group)]
    for overrides in ([], *([each] for each in chosen), [f"callbacks=[{','.join(choices('callbacks'))}]"]):
        for setting in leaves("", settings_of(compose(*BASE, *overrides))):
            assert rule_of(setting) in Rule


def test_a_change_is_written_in_words():
    assert str(Change("callbacks.warmup", MISSING, {"_target_": "x"})) == "callbacks.warmup added"
    assert str(Change("callbacks.plateau", {"_target_": "x"}, None)) == "callbacks.plateau removed"
    assert str(Change("a.b", None, [1, "x y"])) == 'a.b [1,"x y"] (was null)'


CALLBACKS = [(name, path) for path in choices("callbacks") for name in compose(*BASE, f"callbacks=[{path}]").callbacks]


@pytest.mark.parametrize(("name", "path"), CALLBACKS)
def test_no_state_of_our_callbacks_overwrites_an_argument(name, path):
    """Lightning's are put back by `SettingsInCheckpoint`."""
    node = compose(*BASE, f"callbacks=[{path}]").callbacks[name]
    callback, fresh = build(node), build(node)
    if not type(callback).__module__.startswith("vestim_pl"):
        pytest.skip("not of this package")
    arguments = [key for key in inspect.signature(type(callback)).parameters if key in vars(fresh)]
    changed = object()
    for key in arguments:
        vars(fresh)[key] = changed
    fresh.load_state_dict(callback.state_dict())
    assert [key for key in arguments if vars(fresh)[key] is not changed] == []
