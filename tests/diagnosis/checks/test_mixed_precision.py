from vestim_pl.diagnosis.checks.mixed_precision import check_mixed_precision


def test_no_gain_is_a_warning():
    finding = check_mixed_precision("bf16-mixed", full_seconds=0.1, mixed_seconds=0.125)
    assert (finding.severity, finding.override) == ("warning", "trainer.precision=32-true")
    assert "125 ms in bf16-mixed and 100 ms in 32 bits: x 0.8 as fast, for 8 bits" in finding.evidence


def test_a_gain_is_as_it_should_be():
    finding = check_mixed_precision("16-mixed", full_seconds=0.1, mixed_seconds=0.05)
    assert finding.severity == "ok"
    assert "x 2 as fast, for 11 bits" in finding.evidence


def test_full_precision_is_not_measured():
    assert check_mixed_precision("32-true", None, None).severity == "ok"
