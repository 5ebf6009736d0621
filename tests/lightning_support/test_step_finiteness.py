import math

import pytest
import torch
from lightning.pytorch import Trainer

from vestim_pl.functional.finiteness import find_nonfinite, total_norm
from vestim_pl.lightning_support.step_finiteness import gradient_tensors, read_signals, step_signals

ALONE = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["loss", "gradient"])
def test_one_bad_number_shows_in_its_signal_only(value, place):
    losses, gradients = [torch.tensor(1.0), torch.tensor(2.0)], [torch.ones(100), torch.ones(3, 3)]
    (losses[0] if place == "loss" else gradients[1][2]).fill_(value)
    norm = total_norm(gradients)
    finite = torch.isfinite(step_signals(losses, norm)).tolist()
    assert finite == ([False, True] if place == "loss" else [True, False])
    assert [math.isfinite(signal) for signal in read_signals(ALONE, losses, gradients)] == finite


def test_opposite_infinities_do_not_cancel():
    losses = [torch.tensor(float("inf")), torch.tensor(-float("inf"))]
    assert not torch.isfinite(step_signals(losses, torch.tensor(1.0)))[0]
    assert not math.isfinite(read_signals(ALONE, losses, [torch.tensor([1.0])])[0])


def test_sparse_gradients_count():
    table = torch.nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1, 1])).sum().backward()
    gradients = gradient_tensors(torch.optim.SGD(table.parameters(), lr=0.1))
    assert total_norm(gradients).item() == pytest.approx(8**0.5)
    assert find_nonfinite([("table", table.weight.grad)]) == []
