"""Words and lines are legible on light and dark pages (WCAG 2.2: contrast of 4.5 for text, 3 for graphics)."""

import re
from importlib.resources import files

import pytest

CSS = (files("vestim_pl.reports") / "templates" / "report.css").read_text(encoding="utf-8")
LIGHT = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", CSS.partition("@media")[0]))
DARK = LIGHT | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", CSS.partition("@media screen")[2].partition("\n* {")[0]))
TEXT, PLOTTED = ("ink", "soft", "link", "bad"), ("blue", "green", "orange", "vermilion", "purple", "grey")


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(page):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for name in TEXT:
        assert contrast(page[name], page["paper"]) >= 4.5, name
        assert contrast(page[name], page["panel"]) >= 4.5, name
    for name in PLOTTED:
        assert contrast(page[name], page["paper"]) >= 3.0, name


def test_both_pages_have_every_colour_that_a_plot_names():
    scripts = files("vestim_pl.reports") / "assets"
    named = set(re.findall(r'"--([\w-]+)', "".join((scripts / f"{n}.js").read_text() for n in ("plots", "recordings"))))
    from vestim_pl.reports import figures

    named |= {colour.removeprefix("--") for colour in (*figures.PALETTE, figures.GREY, figures.INK, figures.SKY)}
    assert named <= set(LIGHT)
    assert LIGHT["paper"] != DARK["paper"]
