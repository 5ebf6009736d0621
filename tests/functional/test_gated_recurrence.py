"""The gated recurrence equals PyTorch's GRU: values, gradients, and uses of autograd."""

import pytest
import torch
from torch import nn

from vestim_pl.functional.gated_recurrence import gated_recurrence


def case(batch=4, steps=30, features=3, size=10, dtype=torch.float64):
    kernel = nn.GRU(features, size, batch_first=True, dtype=dtype)
    for parameter in kernel.parameters():
        nn.init.normal_(parameter, std=0.5)
    inputs = torch.randn(batch, steps, features, dtype=dtype, requires_grad=True)
    initial = torch.randn(batch, size, dtype=dtype, requires_grad=True)
    return kernel, inputs, initial


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("batch", "steps", "features", "size"), [(4, 30, 3, 10), (1, 1, 1, 1), (3, 2, 7, 33)])
def test_values_and_gradients_equal_those_of_torch(batch, steps, features, size, dtype, atol):
    kernel, inputs, initial = case(batch, steps, features, size, dtype)
    leaves = (inputs, initial, *kernel.parameters())
    expected, _ = kernel(inputs, initial.unsqueeze(0))
    outputs = gated_recurrence(*leaves)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=atol)
    weight = torch.randn_like(outputs)
    ours = torch.autograd.grad((outputs * weight).sum(), leaves)
    theirs = torch.autograd.grad((expected * weight).sum(), leaves)
    torch.testing.assert_close(ours, theirs, rtol=10 * atol, atol=10 * atol)


def test_gradients_are_right():
    kernel, inputs, initial = case(batch=2, steps=4, features=2, size=3)
    assert torch.autograd.gradcheck(gated_recurrence, (inputs, initial, *kernel.parameters()))


@pytest.mark.parametrize("steps_a_block", [1, 7, 29])
def test_gradients_do_not_depend_on_the_blocks(monkeypatch, steps_a_block):
    kernel, *leaves = case()
    leaves += kernel.parameters()
    whole = torch.autograd.grad(gated_recurrence(*leaves).square().sum(), leaves)
    monkeypatch.setattr("vestim_pl.functional.gated_recurrence._BLOCK_ELEMENTS", steps_a_block * 4 * 3 * 10)
    blocked = torch.autograd.grad(gated_recurrence(*leaves).square().sum(), leaves)
    torch.testing.assert_close(blocked, whole, rtol=0, atol=1e-11)


def test_a_graph_can_be_walked_twice():
    kernel, inputs, initial = case()
    loss = gated_recurrence(inputs, initial, *kernel.parameters()).square().sum()
    first = torch.autograd.grad(loss, list(kernel.parameters()), retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(loss, list(kernel.parameters()))))


def test_frozen_weights_let_the_gradient_through():
    kernel, inputs, initial = case()
    kernel.requires_grad_(False)
    expected = torch.autograd.grad(kernel(inputs, initial.unsqueeze(0))[0].sum(), inputs)[0]
    ours = torch.autograd.grad(gated_recurrence(inputs, initial, *kernel.parameters()).sum(), inputs)[0]
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-11)


def test_the_arguments_are_not_modified():
    kernel, inputs, initial = case()
    leaves = (inputs, initial, *kernel.parameters())
    before = [leaf.detach().clone() for leaf in leaves]
    gated_recurrence(*leaves).sum().backward()
    assert all(map(torch.equal, before, leaves))


def test_autocast_keeps_full_precision():
    kernel, inputs, initial = case(dtype=torch.float32)
    expected = gated_recurrence(inputs, initial, *kernel.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = gated_recurrence(inputs.bfloat16(), initial, *kernel.parameters())
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0.05)  # the inputs were rounded
    outputs.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in kernel.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_values_reach_the_output(value):
    kernel, inputs, initial = case()
    with torch.no_grad():
        kernel.weight_hh_l0[0, 0] = value
        outputs = gated_recurrence(inputs, initial, *kernel.parameters())
        expected, _ = kernel(inputs, initial.unsqueeze(0))
    assert torch.equal(outputs.isnan(), expected.isnan())


def test_a_second_derivative_is_refused_not_wrong():
    kernel, inputs, initial = case()
    gradient = torch.autograd.grad(
        gated_recurrence(inputs, initial, *kernel.parameters()).square().sum(), inputs, create_graph=True
    )[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
