import pytest

from vestim_pl.diagnosis.finding import Finding, Severity, worst


def test_severities_are_ordered():
    assert [severity.rank for severity in Severity] == [0, 1, 2, 3]
    assert list(Severity) == ["ok", "note", "warning", "error"]


@pytest.mark.parametrize(
    ("severities", "expected"), [([], "ok"), (["ok", "note"], "note"), (["error", "warning", "note"], "error")]
)
def test_worst_is_by_rank_not_by_name(severities, expected):
    assert worst(Finding("check", Severity(each), "") for each in severities) == expected


def test_dictionary_is_plain():
    assert type(Finding("check", Severity.NOTE, "seen 3 times", "a=1").as_dict()["severity"]) is str
