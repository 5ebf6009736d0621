import pytest

from vestim_pl.diagnosis.checks.distributed import check_distributed


@pytest.mark.parametrize("devices", [2, [0, 1], "2", "0,1"])
def test_several_processes_in_a_multirun_are_an_error(devices):
    finding = check_distributed(devices, "auto", multirun=True)
    assert (finding.severity, finding.override) == ("error", "trainer.devices=1")
    assert check_distributed(devices, "auto", multirun=False).severity == "note"


@pytest.mark.parametrize("strategy", ["auto", "ddp"])
@pytest.mark.parametrize("devices", [1, [0], "1", "auto"])
def test_one_process_is_not(devices, strategy):
    assert check_distributed(devices, strategy, multirun=True, accelerator="cpu").severity == "ok"


def test_several_machines_are_several_processes():
    assert check_distributed(1, "ddp", multirun=True, nodes=2).severity == "error"
