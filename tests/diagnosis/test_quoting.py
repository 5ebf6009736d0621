import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from vestim_pl.diagnosis.quoting import hydra_text, on_command_line


@pytest.mark.parametrize(
    "name",
    [
        "SOC",
        "T cell",
        "Temp (degC)",
        "it's",
        'a"b',
        "a\\",
        'a\\"b',
        "a,b]",
        "1",
        "1e3",
        "null",
        "True",
        "a-b",
        "Température",
    ],
)
def test_a_name_comes_back_through_shell_and_hydra(name):
    words = shlex.split(on_command_line(f"data.features=[{hydra_text(name)},Current]"))
    assert len(words) == 1
    assert OverridesParser.create().parse_override(words[0]).value() == [name, "Current"]


def test_what_needs_no_quotes_has_none():
    assert on_command_line(f"data.features=[{hydra_text('SOC')}]") == "data.features=[SOC]"
