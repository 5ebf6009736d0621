import pytest

from vestim_pl.diagnosis.cost import check_memory, check_time


def test_steps_and_time():
    finding = check_time(batches=257, accumulate=4, step_seconds=0.1, max_epochs=50)
    assert finding.severity == "ok"
    assert "257 batches of 100 ms make 65 optimizer steps an epoch: 26 s an epoch, 21 min" in finding.evidence


def test_more_than_a_day_is_a_warning():
    finding = check_time(batches=10_000, accumulate=1, step_seconds=1.0, max_epochs=50)
    assert (finding.severity, finding.override) == ("warning", "trainer.max_epochs=7")
    windows = check_time(batches=10_000, accumulate=1, step_seconds=1.0, max_epochs=50, stride=2)
    assert (windows.severity, windows.override) == ("warning", "sampling.stride=14")
    few = check_time(batches=50, accumulate=1, step_seconds=1.0, max_epochs=100_000, stride=2)
    assert few.override == "trainer.max_epochs=1440", "an epoch should keep some batches"
    assert check_time(10_000, 1, 1.0, 7).severity == check_time(10_000 * 2 // 14, 1, 1.0, 50, 14).severity == "ok"


@pytest.mark.parametrize("max_epochs", [None, -1])
def test_no_end_is_a_note(max_epochs):
    assert check_time(10, 1, 0.1, max_epochs).severity == "note"


def test_memory_that_runs_out_is_a_warning():
    finding = check_memory(7_000_000_000, 8_000_000_000, 2_000_000, "memory")
    assert finding.severity == "warning"
    assert "7,000 MB of 8,000 MB memory, recordings 2.0 MB" in finding.evidence
    assert check_memory(6_000_000_000, 8_000_000_000, 0, "memory").severity == "ok"
    assert check_memory(6_000_000_000, None, 0, "memory").severity == "ok"


def test_memory_of_a_system_that_does_not_tell_is_no_finding():
    finding = check_memory(None, None, 2_000_000, "memory")
    assert finding.severity == "ok"
    assert finding.evidence == "this system does not tell the peak of a process; recordings 2.0 MB"
