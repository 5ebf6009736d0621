import pytest

from vestim_pl.diagnosis.checks.fused_optimizer import check_fused_optimizer


def test_fused_with_fp16_is_an_error():
    finding = check_fused_optimizer({"name": "Adam", "fused": True}, "16-mixed")
    assert (finding.severity, finding.override) == ("error", "optimizer.fused=false")


@pytest.mark.parametrize(("fused", "precision"), [(True, "bf16-mixed"), (True, "32-true"), (False, "16-mixed")])
def test_anything_else_is_not(fused, precision):
    assert check_fused_optimizer({"name": "Adam", "fused": fused}, precision).severity == "ok"
    assert check_fused_optimizer({"name": "Adam"}, precision).severity == "ok"
