from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.diagnosis.one_value import one_value_each


def finding(check: str, severity: str, override: str) -> Finding:
    return Finding(check, Severity(severity), "told", override)


def test_the_gravest_decides_and_the_order_stays():
    given = [
        finding("slow", "warning", "optimizer.lr=1"),
        finding("flat", "error", "optimizer.lr=0.1 +callbacks.recovery={_target_:a.B}"),
        finding("late", "error", "optimizer.lr=0.2"),
        finding("same", "note", "optimizer.lr=0.1"),
    ]
    found = one_value_each(given)
    assert [each.override for each in found] == ["", given[1].override, "", "optimizer.lr=0.1"]
    assert [each.evidence for each in found] == [
        "told; for optimizer.lr see flat", "told", "told; for optimizer.lr see flat", "told",
    ]  # fmt: skip


def test_added_and_quoted_settings_are_the_same_setting():
    quoted = """'data.features=["T cell",SOC]'"""
    found = one_value_each([finding("a", "error", quoted), finding("b", "note", "+data.features=[SOC]")])
    assert [each.override for each in found] == [quoted, ""]
