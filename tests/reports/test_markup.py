import math

import pytest

from vestim_pl.reports.markup import Html, bullets, definitions, details, figure, number, section, table

EVIL = "<script>\"'&"
SAFE = "&lt;script&gt;&quot;&#x27;&amp;"


@pytest.mark.parametrize(
    "made",
    [
        section(EVIL, EVIL),
        table([EVIL], [[EVIL, EVIL]]),
        definitions([(EVIL, EVIL)]),
        details(EVIL, EVIL),
        bullets([EVIL]),
        figure("data:,", EVIL),
        number(1.0, 2, EVIL),
    ],
)
def test_everything_is_escaped(made: Html) -> None:
    assert "<script" not in made
    assert SAFE in made


@pytest.mark.parametrize(("value", "word"), [(math.nan, "NaN"), (math.inf, "Inf"), (-math.inf, "-Inf")])
def test_what_is_not_finite_stands_out(value: float, word: str) -> None:
    assert f'class="bad">{word}</data>' in number(value)


def test_nothing_makes_no_heading() -> None:
    assert section("Title", "", Html("")) == ""
    assert figure(None, "caption") == ""
    assert bullets([]) == ""
