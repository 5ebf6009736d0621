import pytest

from vestim_pl.diagnosis.finding import Finding, Severity, one_value_each, worst
from vestim_pl.settings.override import Override


def test_severities_are_ordered():
    assert [severity.rank for severity in Severity] == [0, 1, 2, 3]
    assert list(Severity) == ["ok", "note", "warning", "error"]


@pytest.mark.parametrize(
    ("severities", "expected"), [([], "ok"), (["ok", "note"], "note"), (["error", "warning", "note"], "error")]
)
def test_worst_is_by_rank_not_by_name(severities, expected):
    assert worst(Finding("check", Severity(each), "") for each in severities) == expected


def test_dictionary_is_plain():
    found = Finding("check", Severity.NOTE, "seen 3 times", (Override("a", 1), Override("b", [2, 3], added=True)))
    assert type(found.as_dict()["severity"]) is str
    assert found.as_dict()["override"] == "a=1 '+b=[2,3]'"


def finding(check: str, severity: str, *overrides: Override) -> Finding:
    return Finding(check, Severity(severity), "seen", overrides)


def test_the_most_severe_finding_decides_and_the_order_stays():
    recovery = Override("callbacks.recovery", {"_target_": "a.B"}, added=True)
    findings = [
        finding("slow", "warning", Override("optimizer.lr", 1)),
        finding("flat", "error", Override("optimizer.lr", 0.1), recovery),
        finding("late", "error", Override("optimizer.lr", 0.2)),
        finding("same", "note", Override("optimizer.lr", 0.1)),
    ]
    found = one_value_each(findings)
    assert [each.overrides for each in found] == [(), findings[1].overrides, (), (Override("optimizer.lr", 0.1),)]
    see = "seen; for optimizer.lr see flat"
    assert [each.evidence for each in found] == [see, "seen", see, "seen"]


def test_an_added_setting_is_the_same_setting():
    first, second = Override("data.features", ["T cell"]), Override("data.features", ["SOC"], added=True)
    found = one_value_each([finding("a", "error", first), finding("b", "note", second)])
    assert [each.overrides for each in found] == [(first,), ()]
