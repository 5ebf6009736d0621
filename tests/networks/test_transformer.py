"""Properties of the Transformer beyond the contract of every network."""

import pytest
import torch

from vestim_pl.errors import ConfigurationError
from vestim_pl.networks import build_network

WINDOW = 40


def build(seed=0, **options):
    torch.manual_seed(seed)
    spec = {"name": "Transformer", "hidden_sizes": [8, 8], "heads": 2, "lookback": 12, **options}
    return build_network(spec, features=3).eval()


@pytest.mark.parametrize(
    ("sizes", "lookback", "agrees"),
    [([8], WINDOW, True), ([8, 8], WINDOW // 2, True), ([8, 8], WINDOW // 2 + 2, False), ([8, 8], WINDOW, False)],
)
def test_a_window_equals_a_stream_where_the_layers_reach_no_farther_than_it(sizes, lookback, agrees):
    network = build(hidden_sizes=sizes, lookback=lookback).double()
    inputs = torch.randn(2, 100, 3, dtype=torch.float64)
    streamed = network(inputs)[0][:, -1:]
    window = network(inputs[:, -WINDOW:], None, 1)[0]
    assert torch.allclose(streamed, window, rtol=0, atol=1e-12) == agrees


def test_steps_out_of_reach_change_nothing():
    network = build(lookback=10).double()
    inputs = torch.randn(1, 60, 3, dtype=torch.float64, requires_grad=True)
    [gradient] = torch.autograd.grad(network(inputs)[0][:, -1].sum(), inputs)
    reached = gradient[0].abs().sum(-1) > 0
    assert reached[-19:].all()  # two layers of 9 steps back, and the step itself
    assert not reached[:-19].any()


def test_a_long_stream_is_as_exact_as_a_short_one():
    network, state = build(), None
    chunks = torch.randn(40, 1, 500, 3)
    with torch.no_grad():
        for chunk in chunks:
            voltage, state = network(chunk, state)
        fresh, _ = network(chunks[-1])
    assert float(state[0].max()) == 11
    torch.testing.assert_close(voltage[:, 30:], fresh[:, 30:], rtol=0, atol=1e-6)


def test_a_lookback_of_one_step_has_no_memory():
    network = build(lookback=1).double()
    inputs = torch.randn(2, 9, 3, dtype=torch.float64)
    alone = torch.cat([network(step)[0] for step in inputs.split(1, dim=1)], 1)
    torch.testing.assert_close(network(inputs)[0], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("state", [False, True])
def test_autocast_keeps_state_and_voltage_in_full_precision(state):
    network = build()
    inputs = torch.randn(4, 50, 3)
    with torch.no_grad():
        expected, carried = network(inputs, network.zero_state(4) if state else None)
        with torch.autocast("cpu", torch.bfloat16):
            voltage, low = network(inputs, network.zero_state(4) if state else None)
            parts, own = [], network.zero_state(4)
            for part in inputs.split(7, dim=1):
                estimate, own = network(part, own)
                parts.append(estimate)
    assert voltage.dtype == torch.float32
    assert [tensor.dtype for tensor in low] == [tensor.dtype for tensor in carried]
    torch.testing.assert_close(voltage, expected, rtol=0, atol=0.1)
    torch.testing.assert_close(torch.cat(parts, 1), voltage, rtol=0, atol=0.03)


def test_dropout_acts_in_training_only():
    network = build(dropout=0.5)
    inputs = torch.randn(2, 9, 3)
    assert torch.equal(network(inputs)[0], network(inputs)[0])
    network.train()
    assert not torch.equal(network(inputs)[0], network(inputs)[0])


@pytest.mark.parametrize("sizes", [[32], [32] * 8])
def test_the_initial_estimate_has_the_same_size_at_any_depth(sizes):
    voltages = [build(seed, hidden_sizes=sizes, heads=4)(torch.randn(8, 50, 3))[0].std().item() for seed in range(10)]
    assert 0.2 < sum(voltages) / 10 < 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"hidden_sizes": [12, 18], "heads": 4},
            r"network.heads: 4 heads cannot divide layers of sizes \[12, 18\].*use network.heads=3, or",
        ),
        ({"hidden_sizes": [4], "heads": 4}, "network.heads: 4 heads cannot divide .*use network.heads=2, or"),
        ({"hidden_sizes": [1], "heads": 1}, "network.heads: 1 heads cannot divide .*use sizes that are multiples of 1"),
        ({"heads": 0}, "network.heads: 0 is not positive"),
        ({"feedforward": 0}, "network.feedforward: 0 is not positive"),
        ({"lookback": 0}, "network.lookback: 0 is not positive"),
        ({"layer_norm": False}, "network.layer_norm: false.*use network.layer_norm=true"),
    ],
)
def test_mistakes_are_refused_with_a_suggestion(options, message):
    with pytest.raises(ConfigurationError, match=message):
        build(**options)


def test_a_learning_rate_far_too_high_leaves_every_gradient_finite():
    """Without normalised queries and keys the gradient is NaN after a few steps, while the loss is still finite."""
    network = build(hidden_sizes=[16, 16], lookback=50).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=10.0)
    for _ in range(40):
        inputs = torch.randn(16, 50, 3)
        loss = (network(inputs, None, 1)[0][:, 0] - inputs.mean((1, 2))).square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
