"""The recurrent stack: layer sizes, norm and dropout on every layer, gradients, carried states."""

import pytest
import torch
from torch import nn

from vestim_pl.errors import ConfigurationError
from vestim_pl.networks.exponential_smoothing import ExponentialSmoothing
from vestim_pl.networks.recurrent import RecurrentNetwork


@pytest.mark.parametrize(("cell", "kind"), [("LSTM", nn.LSTM), ("GRU", nn.GRU)])
def test_layers_have_the_given_sizes(cell, kind):
    network = RecurrentNetwork(5, cell, [64, 32, 16])
    kernels = [module for module in network.modules() if isinstance(module, kind)]
    assert [(kernel.input_size, kernel.hidden_size) for kernel in kernels] == [(5, 64), (64, 32), (32, 16)]
    assert all(kernel.num_layers == 1 for kernel in kernels)
    assert [tuple(block.shape) for block in network.zero_state(2)][:: 2 if cell == "LSTM" else 1] == [
        (2, 64),
        (2, 32),
        (2, 16),
    ]
    assert network.head.in_features == 16


def test_every_layer_is_normalised():
    network = RecurrentNetwork(3, "LSTM", [16, 12, 8], layer_norm=True)
    seen = []
    for layer in network.layers:
        layer.register_forward_hook(lambda module, given, result: seen.append(result[0]))
    network(torch.randn(4, 20, 3))
    assert [output.shape[-1] for output in seen] == [16, 12, 8]
    for output in seen:
        torch.testing.assert_close(output.mean(-1), torch.zeros(4, 20), rtol=0, atol=1e-5)
        torch.testing.assert_close(output.var(-1, correction=0), torch.ones(4, 20), rtol=0, atol=5e-2)


@pytest.mark.parametrize("sizes", [[64], [64, 48], [64, 48, 32]])
def test_every_layer_has_dropout(sizes):
    network = RecurrentNetwork(3, "LSTM", sizes, dropout=0.3)
    shares = []
    for layer in network.layers:
        layer.register_forward_hook(lambda module, given, result: shares.append((result[0] == 0).float().mean().item()))
    network(torch.randn(8, 40, 3))
    assert shares == [pytest.approx(0.3, abs=0.03)] * len(sizes)


def test_norm_and_dropout_are_off_by_default():
    network = RecurrentNetwork(3, "LSTM", [8, 8])
    assert not [module for module in network.modules() if isinstance(module, nn.LayerNorm)]
    inputs = torch.randn(2, 9, 3)
    assert torch.equal(network(inputs)[0], network(inputs)[0])


def test_head_and_filter_stay_in_full_precision_under_autocast():
    network = RecurrentNetwork(3, "LSTM", [16, 8], layer_norm=True, output_filter=ExponentialSmoothing())
    inputs = torch.randn(4, 60, 3)
    exact, _ = network(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        voltage, state = network(inputs)
    assert voltage.dtype == torch.float32
    assert {tensor.dtype for tensor in state} == {torch.float32}
    torch.testing.assert_close(voltage, exact, rtol=0, atol=0.15)
    voltage.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_chrono_reaches_every_layer():
    network = RecurrentNetwork(3, "LSTM", [16, 8], forget_bias="chrono", lookback=200)
    for layer in network.layers:
        forget = layer.kernel.bias_ih_l0.chunk(4)[1]
        assert (forget >= 0).all()
        assert forget.max() > 1


@torch.no_grad()
def test_the_direct_path_adds_a_voltage_from_the_features_of_a_step():
    network, inputs = RecurrentNetwork(3, "LSTM", [8], direct=[6, 4]), torch.randn(2, 20, 3)
    voltage, state = network(inputs)
    path, network.direct = network.direct, None
    through_memory, same_state = network(inputs)
    by_hand = path[2](torch.tanh(path[1][0](torch.tanh(path[0][0](inputs)))))[..., 0]
    torch.testing.assert_close(voltage - through_memory, by_hand)
    assert all(torch.equal(a, b) for a, b in zip(state, same_state, strict=True))


@pytest.mark.parametrize("output_filter", [None, ExponentialSmoothing(0.3)])
def test_the_direct_path_reads_the_steps_that_are_estimated(output_filter):
    network, inputs = RecurrentNetwork(3, "GRU", [8], direct=[6], output_filter=output_filter), torch.randn(2, 20, 3)
    torch.testing.assert_close(network(inputs, last=3)[0], network(inputs)[0][:, -3:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_sizes": []}, r"network\.hidden_sizes: \[\]"),
        ({"hidden_sizes": [8, 0]}, r"network\.hidden_sizes: \[8, 0\]"),
        ({"direct": [8, 0]}, r"network\.direct: \[8, 0\]"),
        ({"dropout": 1.0}, r"network\.dropout: 1\.0"),
        ({"dropout": -0.1}, r"network\.dropout: -0\.1"),
        ({"forget_bias": "chrono"}, r"network\.forget_bias: chrono"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        RecurrentNetwork(3, "LSTM", **options)


def test_no_features_are_refused():
    with pytest.raises(ConfigurationError, match=r"network\.features: 0"):
        RecurrentNetwork(0)
