import pytest
import torch

from vestim_pl.callbacks.lookback.cropping import crop_sequences
from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.sequence_batch import SequenceBatch


def batch_of(lanes=2, steps=6):
    numbers = torch.arange(float(lanes * steps)).view(lanes, steps)
    batch = SequenceBatch.of(numbers[..., None], numbers)
    weight = torch.zeros(lanes, steps)
    weight[:, -1] = 1
    return batch._replace(weight=weight, first_row=torch.tensor([10, -1]))


def test_keeps_the_last_steps_and_moves_the_first_row():
    batch = batch_of()
    cut = crop_sequences(batch, 2)
    assert torch.equal(cut.inputs, batch.inputs[:, -2:])
    assert torch.equal(cut.target, batch.target[:, -2:])
    assert torch.equal(cut.weight, batch.weight[:, -2:])
    assert cut.first_row.tolist() == [14, -1]  # an empty lane stays empty
    assert torch.equal(cut.fresh, batch.fresh)


@pytest.mark.parametrize("length", [6, 9])
def test_shorter_batch_is_unchanged(length):
    batch = batch_of()
    assert crop_sequences(batch, length) is batch


def test_carried_lanes_are_refused():
    batch = batch_of()._replace(fresh=torch.tensor([True, False]))
    with pytest.raises(ConfigurationError, match="sampling=windows"):
        crop_sequences(batch, 2)


def test_other_batches_are_refused():
    with pytest.raises(ConfigurationError, match=r"type tuple; pass crop="):
        crop_sequences((torch.zeros(2, 6, 1), torch.zeros(2)), 2)
