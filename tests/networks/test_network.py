"""The contract of every registered network."""

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vestim_pl.networks import NETWORKS, Network, build_network

SPECS = {
    "LSTM": {"hidden_sizes": [12, 7], "forget_bias": "one"},
    "GRU": {"hidden_sizes": [12, 7], "forget_bias": "chrono", "lookback": 20, "direct": [9, 5]},
    "LSTM_EMA": {"hidden_sizes": [10], "smoothing": 0.05, "direct": [6]},
    "LSTM_LPF": {"hidden_sizes": [10], "taps": 9},
    "FNN": {"hidden_sizes": [12, 7], "history": 5},
    "Transformer": {"hidden_sizes": [12, 8], "heads": 2, "lookback": 9, "direct": [6]},
}


def build(name, seed=0):
    torch.manual_seed(seed)
    network = build_network({"name": name, "layer_norm": True, "dropout": 0.3, **SPECS[name]}, features=3)
    return network.double()


@pytest.fixture(params=sorted(NETWORKS))
def network(request):
    return build(request.param)


def in_chunks(network, inputs, sizes, state=None):
    parts = []
    for chunk in inputs.split(sizes, dim=1):
        voltage, state = network(chunk, state)
        parts.append(voltage)
    return torch.cat(parts, 1), state


def test_every_registered_network_is_tested_here():
    assert set(SPECS) == set(NETWORKS)


def test_protocol_shapes_and_zero_state(network):
    assert isinstance(network, Network)
    network.eval()
    inputs = torch.randn(4, 11, 3, dtype=torch.float64)
    voltage, state = network(inputs)
    zero = network.zero_state(4, dtype=torch.float64)
    assert voltage.shape == (4, 11)
    assert [(part.shape, part.dtype) for part in state] == [(part.shape, part.dtype) for part in zero]
    assert all(len(part) == 4 for part in state)
    assert not any(part.any() for part in zero)
    torch.testing.assert_close(network(inputs, zero), (voltage, state), rtol=0, atol=0)


@pytest.mark.parametrize("chunk", [1, 7, 61])
def test_chunks_equal_one_pass(network, chunk):
    network.eval()
    inputs = torch.randn(3, 61, 3, dtype=torch.float64)
    torch.testing.assert_close(in_chunks(network, inputs, chunk), network(inputs), rtol=0, atol=1e-12)


@pytest.mark.parametrize("last", [1, 5, 20])
def test_estimating_only_the_last_steps_changes_neither_voltage_nor_state_nor_gradient(network, last):
    network.eval()
    inputs = torch.randn(3, 20, 3, dtype=torch.float64)
    with torch.no_grad():
        state = network(torch.randn(3, 4, 3, dtype=torch.float64))[1]
    voltage, after = network(inputs, state)
    parameters = list(network.parameters())
    expected = torch.autograd.grad(voltage[:, -last:].square().sum(), parameters, allow_unused=True)
    few, same_after = network(inputs, state, last)
    found = torch.autograd.grad(few.square().sum(), parameters, allow_unused=True)
    assert few.shape == (3, last)
    torch.testing.assert_close(few, voltage[:, -last:], rtol=0, atol=1e-12)
    torch.testing.assert_close(same_after, after, rtol=0, atol=0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5))
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_chunks_of_any_sizes_equal_one_pass(name, sizes):
    network = build(name).eval()
    inputs = torch.randn(2, sum(sizes), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(sizes)))
    torch.testing.assert_close(in_chunks(network, inputs, sizes), network(inputs), rtol=0, atol=1e-11)


@pytest.mark.parametrize("chunk", [1, 7, 30])
def test_a_lane_set_to_zero_is_fresh_beside_carried_ones(network, chunk):
    network.eval()
    before, after = torch.randn(4, 25, 3, dtype=torch.float64), torch.randn(4, 30, 3, dtype=torch.float64)
    _, state = network(before)
    fresh = torch.tensor([False, True, False, True])
    mixed = tuple(torch.where(fresh.view(-1, *[1] * (part.ndim - 1)), 0.0, part) for part in state)
    voltage, _ = in_chunks(network, after, chunk, mixed)
    continued = network(torch.cat([before, after], 1))[0][:, 25:]
    restarted = network(after)[0]
    expected = torch.where(fresh.unsqueeze(1), restarted, continued)
    torch.testing.assert_close(voltage, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(continued, restarted)  # otherwise the test proves nothing


def test_gradients_of_chunks_with_carried_state_equal_those_of_one_pass(network):
    network.eval()
    inputs, weight = torch.randn(2, 40, 3, dtype=torch.float64), torch.randn(2, 40, dtype=torch.float64)
    parameters = list(network.parameters())
    whole = torch.autograd.grad((network(inputs)[0] * weight).sum(), parameters)
    chunked = torch.autograd.grad((in_chunks(network, inputs, 9)[0] * weight).sum(), parameters)
    torch.testing.assert_close(chunked, whole, rtol=1e-9, atol=1e-11)


def test_the_future_and_other_lanes_change_nothing(network):
    network.eval()
    inputs = torch.randn(3, 20, 3, dtype=torch.float64)
    voltage, _ = network(inputs)
    padded = torch.full((5, 33, 3), 77.0, dtype=torch.float64)  # tails padded, lanes empty
    padded[:3, :20] = inputs
    torch.testing.assert_close(network(padded)[0][:3, :20], voltage, rtol=0, atol=1e-12)


def test_every_parameter_gets_a_gradient(network):
    network.eval()  # no dropout, which may drop a whole unit
    inputs = torch.randn(8, 50, 3, dtype=torch.float64)
    (network(inputs)[0] - torch.randn(8, 50)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_state_dict_round_trip_is_exact(network, request):
    network.eval()
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    buffer.seek(0)
    twin = build(request.node.callspec.params["network"], seed=1).eval()
    inputs = torch.randn(2, 30, 3, dtype=torch.float64)
    assert not torch.equal(twin(inputs)[0], network(inputs)[0])
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(twin(inputs)[0], network(inputs)[0])


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_seed_decides_the_weights(name):
    first, second, other = (build(name, seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_carried_state_does_not_keep_the_chunk_in_memory(network):
    network.eval()
    _, state = network(torch.randn(2, 500, 3, dtype=torch.float64))
    for part, zero in zip(state, network.zero_state(2, dtype=torch.float64), strict=True):
        kept, needed = part.detach().untyped_storage().nbytes(), zero.untyped_storage().nbytes()
        assert kept <= needed, "the state is a view of a longer tensor: return a clone()"
