"""The GRU on the CPU equals ``nn.GRU`` except in speed."""

import copy

import pytest
import torch
from torch import nn

from vestim_pl.networks.gru_layer import GRULayer


@pytest.fixture
def pair():
    layer, reference = GRULayer(3, 16).double(), nn.GRU(3, 16, batch_first=True, dtype=torch.float64)
    layer.load_state_dict(reference.state_dict())
    return layer, reference


def test_parameters_are_those_of_torch(pair):
    layer, reference = pair
    assert isinstance(layer, nn.GRU)
    assert [(name, value.shape) for name, value in layer.named_parameters()] == [
        (name, value.shape) for name, value in reference.named_parameters()
    ]
    reference.load_state_dict(layer.state_dict())


@pytest.mark.parametrize("with_state", [False, True])
def test_output_state_and_gradients_are_those_of_torch(pair, with_state):
    inputs = torch.randn(4, 25, 3, dtype=torch.float64)
    start = torch.randn(1, 4, 16, dtype=torch.float64) if with_state else None
    results, gradients = [], []
    for kernel in pair:
        output, hidden = kernel(inputs, start)
        (output.square().sum() + hidden.sin().sum()).backward()
        results.append((output, hidden))
        gradients.append([parameter.grad for parameter in kernel.parameters()])
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_the_fast_path_is_really_taken_on_cpu_and_left_for_few_steps_and_tracing(pair):
    layer, _ = pair
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)
    assert "GatedRecurrence" in str(layer(inputs)[0].grad_fn.name())
    assert "GatedRecurrence" not in str(layer(inputs[:, :1])[0].grad_fn.name())
    traced = torch.jit.trace(layer, (inputs,))
    assert "aten::gru" in str(traced.inlined_graph)
    torch.testing.assert_close(traced(inputs), layer(inputs))


def test_a_copy_and_a_functional_call_use_their_own_weights(pair):
    layer, _ = pair
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)
    twin = copy.deepcopy(layer)
    nn.init.zeros_(twin.weight_ih_l0)
    assert not torch.equal(twin(inputs)[0], layer(inputs)[0])
    called = torch.func.functional_call(layer, dict(twin.named_parameters()), (inputs,))
    assert torch.equal(called[0], twin(inputs)[0])


def test_carried_state_does_not_keep_the_chunk_in_memory(pair):
    layer, _ = pair
    _, hidden = layer(torch.randn(2, 500, 3, dtype=torch.float64))
    assert hidden.untyped_storage().nbytes() == 2 * 16 * 8
