from dataclasses import dataclass

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.lightning_support.training_batches import change_training_batches, nonfinite_fields


class Tens(LightningModule):
    def on_before_batch_transfer(self, batch, dataloader_idx):
        return batch + 10


@pytest.fixture
def trainer():
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.training = True
    return trainer


def test_changes_follow_the_hook_of_the_module_in_their_order(trainer):
    module = Tens()
    change_training_batches(trainer, module, lambda batch: 2 * batch)
    change_training_batches(trainer, module, lambda batch: batch + 1, first=True)
    change_training_batches(trainer, module, lambda batch: -batch)
    assert module.on_before_batch_transfer(torch.tensor(1), 0) == -2 * (11 + 1)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_they_leave_in_any_order_and_the_module_is_as_before(trainer, order):
    module = Tens()
    undo = [change_training_batches(trainer, module, lambda batch, n=n: batch * n) for n in (2, 3)]
    undo[order[0]]()
    undo[order[0]]()
    assert module.on_before_batch_transfer(torch.tensor(1), 0) == 11 * (3, 2)[order[0]]
    undo[order[1]]()
    assert "on_before_batch_transfer" not in vars(module)


def test_other_stages_keep_their_batches(trainer):
    module = LightningModule()
    change_training_batches(trainer, module, lambda batch: batch * 2)
    trainer.validating = True
    assert module.on_before_batch_transfer(torch.tensor(1), 0) == 1


NAN = float("nan")


def test_fields_of_a_named_tuple_with_their_rows():
    batch = SequenceBatch.of(torch.ones(3, 4, 2), torch.ones(3, 4))
    batch.inputs[1, 2, 0] = NAN
    batch.target[2, 0] = float("inf")
    assert nonfinite_fields(batch) == {"inputs": [1], "target": [2]}


def test_nested_containers_integers_and_strangers():
    batch = {"a": [torch.ones(2), torch.tensor([[1.0], [NAN]])], "n": torch.arange(3), "name": "x", "none": None}
    assert nonfinite_fields(batch) == {"a.1": [1]}
    assert nonfinite_fields(torch.tensor(NAN)) == {"batch": [0]}
    assert nonfinite_fields("text") == {}


def test_fields_of_a_dataclass():
    @dataclass
    class Batch:
        inputs: torch.Tensor
        target: torch.Tensor

    assert nonfinite_fields(Batch(torch.ones(2, 3), torch.tensor([1.0, NAN]))) == {"target": [1]}
