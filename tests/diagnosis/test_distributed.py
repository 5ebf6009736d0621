import pytest

from vestim_pl.diagnosis.distributed import check_distributed


@pytest.mark.parametrize("devices", [2, -1, [0, 1], "2", "-1"])
def test_several_processes_in_a_multirun_are_an_error(devices):
    finding = check_distributed(devices, "auto", multirun=True)
    assert (finding.severity, finding.override) == ("error", "trainer.devices=1")
    assert check_distributed(devices, "auto", multirun=False).severity == "note"


@pytest.mark.parametrize("devices", [1, [0], "1", "auto"])
def test_one_process_is_not(devices):
    assert check_distributed(devices, "auto", multirun=True).severity == "ok"


def test_the_strategy_counts_too():
    assert check_distributed("auto", "ddp_spawn", multirun=True).severity == "error"
