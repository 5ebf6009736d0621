"""A value that Hydra cannot read is shown as it must be typed, and comes back through the shell and Hydra."""

import shlex

import pytest
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tests.composing import compose
from vestim_pl.app.override_mistakes import explain, explain_reference, quoted_argument

VALUES = [
    "Test_Time(s)", "Spannung [V]", "Temp (°C)", "Température", "Δ", "I/mA", "a=b", "/data/run#1", "/a=b/c", "x&y",
    "U;V",     "it's", 'say "V"', '"a', "{x}", "[a", "a]", "a!", "<a>", "a^b", "`a`", "~/my data/x", "/a/(1)/b", "a\\",
    "a,b", " a ",
]  # fmt: skip


def suggestion(text: str) -> str:
    """The argument that a message says to write, as Hydra receives it from the shell."""
    (word,) = shlex.split(text.rpartition("write ")[2].rpartition(" for a list, ")[2].removesuffix(" for a text"))
    return word


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("key", ["data.columns.time", "data.root"])
def test_the_very_argument_is_shown_and_gives_the_value(key, value):
    try:
        compose(f"{key}={value}")
    except HydraException as error:
        message = explain(error, [])
        assert message.startswith(f"{key}={value}: ")
        assert "\n" not in message
        assert OmegaConf.select(compose(suggestion(message)), key) == value
    (word,) = shlex.split(quoted_argument(key, value))
    assert OmegaConf.select(compose(word), key) == value


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("[SOC,Temp (C)]", ["SOC", "Temp (C)"]),
        ("[SOC, Température]", ["SOC", "Température"]),
        ('["SOC", I (A)]', ["SOC", "I (A)"]),
        ("[5,a;b]", [5, "a;b"]),
    ],
)
def test_of_a_list_only_the_entries_are_quoted(value, meant):
    with pytest.raises(HydraException) as caught:
        compose(f"data.features={value}")
    assert compose(suggestion(explain(caught.value, []))).data.features == meant


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="$"), min_size=1, max_size=12))
def test_any_text_comes_back(value):
    if value.strip().startswith("["):
        return  # a list
    (word,) = shlex.split(quoted_argument("data.root", value))
    assert OmegaConf.select(compose(word), "data.root") == value


def test_what_the_shell_has_cut_at_a_space_is_put_together():
    """``data.root=/data/My Run`` without quotes is two arguments."""
    arguments = ["data=folder", "data.root=/data/My", "Run", "seed=1"]
    with pytest.raises(HydraException) as caught:
        compose(*arguments)
    message = explain(caught.value, [], arguments)
    assert message == (
        "Run: is not key=value; if it belongs to the argument before it, write 'data.root=\"/data/My Run\"'"
    )


def test_a_reference_to_nothing_is_one_line():
    config = compose("data.columns.time=${x}")
    with pytest.raises(OmegaConfBaseException) as caught:
        _ = config.data.columns.time
    assert explain_reference(caught.value) == (
        "data.columns.time: interpolation key 'x' not found; if the value is a text, write a backslash before ${"
    )
