import pytest
from lightning.pytorch import Trainer

from vestim_pl.diagnosis.checks.cost import Plan, check_memory, check_time


def test_steps_and_time():
    finding = check_time(Plan(257, 65, 50), 0.1, 0.0)
    assert finding.severity == "ok"
    assert (
        "257 batches of 100 ms make 65 optimizer steps an epoch: 26 s an epoch and 0 s for validation, 21 min"
        in finding.evidence
    )


def test_more_than_a_day_is_a_warning():
    finding = check_time(Plan(10_000, 10_000, 50), 1.0, 0.0)
    assert (finding.severity, finding.override) == ("warning", "trainer.max_epochs=7")
    windows = check_time(Plan(10_000, 10_000, 50), 1.0, 0.0, stride=2)
    assert (windows.severity, windows.override) == ("warning", "sampling.stride=14")
    few = check_time(Plan(50, 50, 100_000), 1.0, 0.0, stride=2)
    assert few.override == "trainer.max_epochs=1440", "an epoch should keep some batches"
    assert check_time(Plan(10_000, 10_000, 7), 1.0, 0.0).severity == "ok"
    assert check_time(Plan(10_000 * 2 // 14, 1, 50), 1.0, 0.0, 14).severity == "ok"


def test_validation_counts_and_a_stride_does_not_help():
    rare = Plan(100, 100, 50, validations=0.2, validation_batches=3000)
    assert "100 s an epoch and 10 min for validation, 9.7 h for 50 epochs" in check_time(rare, 1.0, 1.0).evidence
    often = Plan(100, 100, 50, validations=1.0, validation_batches=3000)
    finding = check_time(often, 1.0, 1.0, stride=2)
    assert (finding.severity, finding.override) == ("warning", "trainer.max_epochs=23")
    limited = Plan(10_000, 10_000, 50, limited=True)
    assert check_time(limited, 1.0, 0.0, stride=2).override == "trainer.max_epochs=7", "fewer windows change nothing"


def test_no_end_is_a_note():
    assert check_time(Plan(10, 10, None), 0.1, 0.0).severity == "note"


def test_memory_that_runs_out_is_a_warning():
    finding = check_memory(7_000_000_000, 8_000_000_000, 2_000_000, "memory")
    assert finding.severity == "warning"
    assert "7,000 MB of 8,000 MB memory, recordings 2.0 MB" in finding.evidence
    assert check_memory(6_000_000_000, 8_000_000_000, 0, "memory").severity == "ok"
    assert check_memory(6_000_000_000, None, 0, "memory").severity == "ok"


def test_memory_of_a_system_that_does_not_report_it_is_ok():
    finding = check_memory(None, None, 2_000_000, "memory")
    assert finding.severity == "ok"
    assert finding.evidence == "this system does not report the peak memory of a process; recordings 2.0 MB"


def plan(processes: int = 1, **options: object) -> Plan:
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **options)
    return Plan.of(trainer, batches=100, validation_batches=10, processes=processes)


def test_limits_of_the_trainer_count():
    whole = plan(max_epochs=50)
    assert (whole.batches, whole.steps, whole.epochs, whole.validations) == (100, 100, 50, 1.0)
    assert not whole.limited
    assert plan(max_epochs=50, limit_train_batches=5).batches == 5
    assert plan(max_epochs=50, limit_train_batches=0.25).batches == 25
    assert plan(max_epochs=50, limit_val_batches=3).validation_batches == 3
    assert plan(max_epochs=50, accumulate_grad_batches=8).steps == 13


def test_processes_share_the_batches():
    both = plan(processes=2, max_epochs=1)
    assert (both.batches, both.validation_batches, both.limited) == (50, 5, False)


@pytest.mark.parametrize(
    ("options", "epochs", "length"),
    [
        ({"max_epochs": 50}, 50, "50 epochs"),
        ({"max_epochs": 50, "max_steps": 250}, 2.5, "250 steps"),
        ({"max_steps": 250}, 2.5, "250 steps"),
        ({"max_epochs": 2, "max_steps": 250}, 2, "2 epochs"),
        ({"max_epochs": -1}, None, None),
    ],
)
def test_what_ends_it_first_counts(options, epochs, length):
    found = plan(**options)
    assert found.epochs == epochs
    assert length is None or found.length == length


def test_validations_are_as_often_as_they_are_set_to():
    assert plan(max_epochs=10, check_val_every_n_epoch=5).validations == 0.2
    assert plan(max_epochs=10, val_check_interval=0.25).validations == 4
    assert plan(max_epochs=10, val_check_interval=50, check_val_every_n_epoch=None).validations == 2
