import math

import pytest
from jinja2 import UndefinedError

from vestim_pl.reports.page import render_page, rounded

SWEEP = {"names": [], "swept": [], "reported": []}
JOB = {"val_rmse_mv": 1.0, "test_rmse_mv": math.nan, "epochs": 1, "skips": 0, "rollbacks": 0, "seconds": math.nan}


def test_every_value_is_escaped():
    evil = "<script>\"'&"
    job = {**JOB, "job": evil, "state": evil, "reason": evil, evil: evil}
    page = render_page("sweep_report.html", **{**SWEEP, "names": [evil], "swept": [evil]}, title=evil, jobs=[job])
    assert page.count("<script") == 1, "that of the page"
    assert page.count("&lt;script&gt;&#34;&#39;&amp;") == 7  # title twice, heading, job, swept value, state, reason


@pytest.mark.parametrize(("value", "word"), [(math.nan, "NaN"), (math.inf, "Inf"), (-math.inf, "-Inf")])
def test_a_non_finite_number_stands_out(value, word):
    assert rounded(value) == word
    job = {**JOB, "job": "a", "state": "", "reason": "", "epochs": value}
    page = render_page("sweep_report.html", **SWEEP, title="", jobs=[job])
    assert f'<data value="{value}" class="bad">{word}</data>' in page


def test_a_section_without_content_has_no_heading():
    assert "<h2>" not in render_page("sweep_report.html", **SWEEP, title="", jobs=[])


def test_a_missing_value_is_an_error_and_not_an_empty_heading():
    with pytest.raises(UndefinedError, match="title"):
        render_page("sweep_report.html", **SWEEP, jobs=[])
