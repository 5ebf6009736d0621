import pytest
from lightning.pytorch import Trainer

from vestim_pl.diagnosis.plan import Plan


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
