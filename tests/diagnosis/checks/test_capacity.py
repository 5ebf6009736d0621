import pytest

from vestim_pl.diagnosis.checks.capacity import check_capacity


@pytest.mark.parametrize(
    ("parameters", "severity", "override"),
    [
        (611, "warning", "'network.hidden_sizes=[30,15]'"),
        (1500, "note", "'network.hidden_sizes=[30,15]'"),
        (4769, "ok", ""),
    ],
)
def test_parameters_a_step(parameters, severity, override):
    finding = check_capacity(parameters, 400, [10, 5])
    assert (finding.severity, finding.override) == (severity, override)
    assert finding.evidence.startswith(
        f"{parameters:,} parameters for a lookback of 400: {parameters / 400:.1f} a step"
    )
    assert "10 and 5 hidden units" in finding.evidence
