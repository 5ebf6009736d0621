import random

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import nn

from vestim_pl.callbacks.crash_bundle.step_window import StepWindow
from vestim_pl.lightning_support.random_state import restore_random_states


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
        self.carried = torch.zeros(1)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["carried"] = self.carried


def window_of(module):
    return StepWindow(module, torch.optim.SGD(module.parameters(), lr=0.1))


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


def test_everything_is_as_it_was_before_the_window():
    module = Net()
    window = window_of(module)
    mean, weight = module.norm.running_mean.clone(), module.layer.weight.detach().clone()
    for index in (4, 5):
        window.start_batch(torch.ones(3, 2), index)
        loss = module.norm(module.layer(torch.randn(3, 2))).square().mean()
        loss.backward()
        window.losses.append(loss.detach())
        module.carried = module.carried + 1
    window.before_update()
    with torch.no_grad():
        module.layer.weight.zero_()
    assert window.indices == [4, 5]
    assert torch.equal(window.buffers["norm.running_mean"], mean)
    assert torch.equal(window.copy.parameters()["layer.weight"], weight)
    assert window.extras == {"carried": torch.zeros(1)}
    assert set(window.gradients) == {"layer.weight", "layer.bias", "norm.weight", "norm.bias"}
    assert torch.isfinite(window.measure()).all()


def test_random_states_are_those_before_each_batch_and_asking_changes_nothing():
    window, drawn = window_of(Net()), []
    for index in range(2):
        window.start_batch(None, index)
        drawn.append(draw())
    before = torch.get_rng_state(), random.getstate()
    states = window.random_states()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    for state, expected in zip(states, drawn, strict=True):
        restore_random_states(state)
        assert draw() == expected


def test_clear_forgets_the_batches():
    window = window_of(Net())
    window.start_batch(torch.ones(1), 0)
    window.before_update()
    window.clear()
    assert (window.batches, window.gradients, window.updating, window.random_states()) == ([], {}, False, [])


def test_carried_is_what_may_have_brought_the_fault_along():
    class Odd(Net):
        def __init__(self):
            super().__init__()
            self.best = torch.tensor(float("inf"))
            self.register_buffer("mask", torch.tensor([0.0, -float("inf")]))
            self.register_buffer("lazy", None)

        def on_save_checkpoint(self, checkpoint):
            checkpoint.update(carried=self.carried, best=self.best)

    module = Odd()
    window = window_of(module)
    module.lazy = torch.tensor(-float("inf"))
    module.carried = torch.tensor([float("nan")])
    window.start_batch(None, 0)
    found = [(kind, name) for kind, name, _ in window.carried() if not name.startswith("norm.")]
    assert found == [("carried state", "carried")]
    assert ("buffer", "norm.running_mean") in [(kind, name) for kind, name, _ in window.carried()]
