import pytest
import torch
from torch import nn

from vestim_pl.callbacks.crash_bundle.plain_data import from_plain
from vestim_pl.callbacks.crash_bundle.pre_step_copy import PreStepCopy, load_optimizer_state


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
def test_step_from_the_copy_is_the_step_that_was_made(build):
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
    places = [tensor.data_ptr() for tensor in copy._copies.tensors]
    step(layer, optimizer)
    copy.save()
    assert [tensor.data_ptr() for tensor in copy._copies.tensors] == places
    assert torch.equal(copy.parameters()["weight"], layer.weight)


def test_groups_keep_options_and_names():
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    model = nn.ModuleList([first, second])
    optimizer = torch.optim.Adam([{"params": first.parameters(), "lr": 0.5}, {"params": second.parameters()}], lr=0.1)
    copy = PreStepCopy(model, optimizer)
    copy.save()
    optimizer.param_groups[0]["lr"] = 9.0
    groups = [from_plain(group) for group in copy.optimizer_state()["groups"]]
    assert [group["lr"] for group in groups] == [0.5, 0.1]
    assert groups[0]["params"] == ["0.weight", "0.bias"]
    assert copy.optimizer_state()["class"] == "torch.optim.adam:Adam"
