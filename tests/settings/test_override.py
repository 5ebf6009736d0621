import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from vestim_pl.settings.override import Override, command_text

NAMES = [
    "SOC", "T cell", "Temp (degC)", "it's", 'a"b', "a\\", 'a\\"b', "a,b]", "1", "1e3", "1_000", "+inf", "null", "True",
    "a-b", "Température", "", "~", "~/a", "a:b", "{a,b}", "$HOME", "*", "a\tb", " a ", "32-true", "/a/last.ckpt",
    "a=b",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**15), 10**15),
    st.sampled_from(NAMES),
    st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="$"), max_size=8),
)


def parsed(text: str):
    """What bash and Hydra make of a pasted text: every key with its value."""
    overrides = [OverridesParser.create().parse_override(word) for word in shlex.split(text)]
    return {each.key_or_group: each.value() for each in overrides}


@pytest.mark.parametrize("name", NAMES)
def test_a_text_comes_back_through_shell_and_hydra(name):
    assert parsed(str(Override("data.features", [name, "Current"]))) == {"data.features": [name, "Current"]}
    assert parsed(str(Override("ckpt_path", name))) == {"ckpt_path": name}


@settings(max_examples=60, deadline=None)
@given(st.one_of(SCALARS, st.lists(SCALARS, max_size=3)))
@example(-0.5)
@example(1e-5)
@example(0.0)
def test_a_value_comes_back_through_shell_and_hydra(value):
    found = parsed(command_text([Override("a.b", value), Override("c", 1, added=True)]))
    assert found == {"a.b": value, "c": 1}
    assert type(found["a.b"]) in (type(value), int)  # 2.0 is written as 2


def test_an_interpolation_in_a_text_stays_text():
    config = OmegaConf.create({"a": parsed(str(Override("a", "${b}")))["a"]})
    assert config.a == "${b}"


def test_a_callback_is_a_mapping_that_hydra_reads():
    callback = Override("callbacks.guard", {"_target_": "vestim_pl.callbacks.StepGuard"}, added=True)
    assert str(callback) == "'+callbacks.guard={_target_:vestim_pl.callbacks.StepGuard}'"
    assert parsed(str(callback)) == {"callbacks.guard": {"_target_": "vestim_pl.callbacks.StepGuard"}}


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (Override("optimizer.lr", 0.1 * 0.1), "optimizer.lr=0.01"),
        (Override("optimizer.fused", False), "optimizer.fused=false"),
        (Override("trainer.precision", "32-true"), "trainer.precision=32-true"),
        (Override("ckpt_path", "/a/b-1/last.ckpt"), "ckpt_path=/a/b-1/last.ckpt"),
    ],
)
def test_what_needs_no_quotes_has_none(override, text):
    assert str(override) == text
