import pytest

from vestim_pl.diagnosis.checks.weight_decay import check_weight_decay


@pytest.mark.parametrize(
    ("optimizer", "severity", "override"),
    [
        ({"name": "Adam", "weight_decay": 0.0}, "warning", "optimizer.weight_decay=0.0001"),
        ({"name": "Adam"}, "warning", "+optimizer.weight_decay=0.0001"),
        ({"name": "AdamW", "weight_decay": 0}, "warning", "optimizer.weight_decay=0.0001"),
        ({"name": "AdamW"}, "ok", ""),
        ({"name": "Adam", "weight_decay": 1e-4}, "ok", ""),
        ({"name": "LBFGS"}, "note", "optimizer.name=AdamW"),
    ],
)
def test_weight_decay(optimizer, severity, override):
    finding = check_weight_decay(optimizer, parameters=100, rows=5000)
    assert (finding.severity, finding.override) == (severity, override)


def test_evidence_has_the_numbers():
    assert "(100 parameters, 50 rows for each)" in check_weight_decay({"name": "SGD"}, 100, 5000).evidence
    assert "1e-05" in check_weight_decay({"name": "SGD", "weight_decay": 1e-5}, 100, 5000).evidence
