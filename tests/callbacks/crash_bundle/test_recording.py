import random

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from vestim_pl.callbacks.crash_bundle.plain_data import from_plain
from vestim_pl.callbacks.crash_bundle.recording import PreStepCopy, StepWindow, load_optimizer_state
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


def test_state_is_from_before_the_window():
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


def test_random_states_are_from_before_each_batch_and_reading_them_changes_nothing():
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


def test_carried_leaves_out_what_was_never_finite():
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


def step(layer, optimizer):
    optimizer.zero_grad()
    layer(torch.randn(5, 3)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize(
    "build",
    [
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True),
        lambda p: torch.optim.RMSprop(p, lr=0.1, centered=True),
        lambda p: torch.optim.NAdam(p, lr=0.1),
    ],
)
def test_step_from_the_copy_equals_the_original_step(build):
    layer = nn.Linear(3, 2)
    optimizer = build(layer.parameters())
    copy = PreStepCopy(layer, optimizer)
    for _ in range(3):
        copy.save()
        step(layer, optimizer)
    copy.save()
    described = copy.optimizer_state()
    weights = {name: tensor.clone() for name, tensor in copy.parameters().items()}
    random = torch.get_rng_state()
    step(layer, optimizer)

    again = nn.Linear(3, 2)
    again.load_state_dict(weights)
    rebuilt = build(again.parameters())
    load_optimizer_state(rebuilt, again, from_plain(described["state"]))
    torch.set_rng_state(random)
    step(again, rebuilt)
    assert torch.equal(layer.weight, again.weight)


def test_memory_is_allocated_once():
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    copy = PreStepCopy(layer, optimizer)
    step(layer, optimizer)
    copy.save()
    places = [tensor.data_ptr() for tensor in copy.parameters().values()]
    places += [tensor.data_ptr() for _, _, tensor in copy.moments()]
    step(layer, optimizer)
    copy.save()
    again = [*copy.parameters().values(), *(tensor for _, _, tensor in copy.moments())]
    assert [tensor.data_ptr() for tensor in again] == places
    assert torch.equal(copy.parameters()["weight"], layer.weight)


def test_groups_keep_options_and_names():
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    model = nn.ModuleList([first, second])
    optimizer = torch.optim.Adam([{"params": first.parameters(), "lr": 0.5}, {"params": second.parameters()}], lr=0.1)
    copy = PreStepCopy(model, optimizer)
    copy.save()
    optimizer.param_groups[0]["lr"] = 9.0
    groups = copy.optimizer_state()["groups"]
    assert [group["lr"] for group in groups] == [0.5, 0.1]
    assert groups[0]["params"] == ["0.weight", "0.bias"]
    assert copy.optimizer_state()["class"] == "torch.optim.adam:Adam"
