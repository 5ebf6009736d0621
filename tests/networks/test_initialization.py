"""Properties of initial weights, gate by gate."""

import math

import pytest
import torch
from torch import nn

from vestim_pl.errors import ConfigurationError
from vestim_pl.networks.initialization import chrono_bias, initialize_linear, initialize_recurrent

KERNELS = [(nn.LSTM, 4), (nn.GRU, 3)]


@pytest.mark.parametrize(("kind", "gates"), KERNELS)
def test_recurrent_weights_are_orthogonal_gate_by_gate(kind, gates):
    kernel = kind(3, 16, batch_first=True)
    initialize_recurrent(kernel)
    for block in kernel.weight_hh_l0.chunk(gates):
        torch.testing.assert_close(block @ block.T, torch.eye(16), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "gates"), KERNELS)
def test_input_weights_fill_the_xavier_range_of_one_gate(kind, gates):
    kernel = kind(24, 200, batch_first=True)
    initialize_recurrent(kernel)
    bound = math.sqrt(6 / (24 + 200))
    for block in kernel.weight_ih_l0.chunk(gates):
        assert 0.98 * bound < block.abs().max() <= bound
        assert block.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def effective_biases(kernel, gates):
    return (kernel.bias_ih_l0 + kernel.bias_hh_l0).detach().chunk(gates)


@pytest.mark.parametrize(("option", "value"), [("zero", 0.0), ("one", 1.0)])
@pytest.mark.parametrize(("kind", "gates"), KERNELS)
def test_constant_forget_bias_is_the_effective_sum(kind, gates, option, value):
    kernel = kind(3, 8, batch_first=True)
    initialize_recurrent(kernel, option)
    biases = effective_biases(kernel, gates)
    assert (biases[1] == value).all()
    assert all((bias == 0).all() for gate, bias in enumerate(biases) if gate != 1)


def test_chrono_covers_the_lookback_in_an_lstm():
    kernel = nn.LSTM(3, 2000, batch_first=True)
    initialize_recurrent(kernel, "chrono", lookback=101)
    admit, forget, candidate, output = effective_biases(kernel, 4)
    assert torch.equal(admit, -forget)
    assert forget.exp().min() >= 1
    assert forget.exp().max() <= 100 + 1e-3
    assert forget.exp().mean().item() == pytest.approx(50.5, rel=0.05)  # uniform over 1..100
    assert not candidate.any()
    assert not output.any()


def test_chrono_keeps_the_old_state_of_a_gru():
    kernel = nn.GRU(3, 50, batch_first=True)
    initialize_recurrent(kernel, "chrono", lookback=100_000)
    reset, update, candidate = effective_biases(kernel, 3)
    assert (update > 0).all()
    assert not reset.any()
    assert not candidate.any()
    nn.init.zeros_(kernel.weight_hh_l0)
    start = torch.randn(1, 1, 50)
    _, later = kernel(torch.zeros(1, 1, 3), start)
    torch.testing.assert_close(later, start * update.sigmoid())  # the gate keeps the old state


def test_chrono_asks_for_a_usable_lookback():
    with pytest.raises(ConfigurationError, match=r"set network\.lookback"):
        initialize_recurrent(nn.LSTM(3, 4), "chrono")
    with pytest.raises(ConfigurationError, match=r"network\.lookback: 2 is too short"):
        chrono_bias(4, 2)


def test_linear_heads_are_xavier_with_zero_bias():
    layer = nn.Linear(300, 100)
    initialize_linear(layer)
    bound = math.sqrt(6 / 400)
    assert 0.98 * bound < layer.weight.abs().max() <= bound
    assert not layer.bias.any()
    initialize_linear(nn.Linear(3, 1, bias=False))
