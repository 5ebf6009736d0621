"""Suggestions of a message become arguments of `vestim_pl.load`."""

import pytest

from vestim_pl.deploy.python_suggestions import for_python
from vestim_pl.settings.override import Override


@pytest.mark.parametrize(
    ("override", "argument"),
    [
        (Override("data.resample", 1.0), "resample=1"),
        (Override("data.units.soc", "%"), "units={'soc': '%'}"),
        (Override("data.columns.current", "I cell [A]"), "columns={'current': 'I cell [A]'}"),
        (Override("data.columns.time", "the cell's time"), "columns={'time': \"the cell's time\"}"),
    ],
)
def test_an_override_as_it_is_pasted_into_a_shell_becomes_an_argument(override, argument):
    assert for_python(f"the table: is odd; set {override}, or correct it") == (
        f"the table: is odd; set {argument}, or correct it; vestim_pl.load takes such settings"
    )


def test_a_message_without_a_setting_loses_only_what_is_for_commands():
    assert (
        for_python("the table: a; fix it, or leave the file out with data.on_bad_file=skip") == "the table: a; fix it"
    )
