"""The feed-forward baseline: its inputs and its layers."""

import pytest
import torch
from torch import nn

from vestim_pl.errors import ConfigurationError
from vestim_pl.networks.feedforward import FeedForwardNetwork


@pytest.mark.parametrize("history", [1, 4])
def test_a_step_depends_on_exactly_the_last_samples(history):
    network = FeedForwardNetwork(3, [16], history=history).double()
    inputs = torch.randn(1, 12, 3, dtype=torch.float64, requires_grad=True)
    voltage, _ = network(inputs)
    gradient = torch.autograd.grad(voltage[0, 9], inputs)[0][0].abs().sum(1)
    assert (gradient > 0).nonzero().flatten().tolist() == list(range(10 - history, 10))


def test_a_fresh_lane_starts_as_if_its_first_sample_had_always_been_present():
    network = FeedForwardNetwork(3, [16], history=5)
    inputs = torch.randn(2, 1, 3).expand(2, 6, 3)
    voltage, _ = network(inputs)
    torch.testing.assert_close(voltage, voltage[:, :1].expand_as(voltage))


def test_sizes_norm_and_dropout_are_on_every_hidden_layer():
    network = FeedForwardNetwork(3, [16, 8], dropout=0.25, layer_norm=True, history=2)
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert [(linear.in_features, linear.out_features) for linear in linears] == [(6, 16), (16, 8), (8, 1)]
    assert [module.normalized_shape for module in network.layers if isinstance(module, nn.LayerNorm)] == [(16,), (8,)]
    assert [module.p for module in network.layers if isinstance(module, nn.Dropout)] == [0.25, 0.25]
    inputs = torch.randn(2, 9, 3)
    assert not torch.equal(network(inputs)[0], network(inputs)[0])


@pytest.mark.parametrize("options", [{"history": 0}, {"hidden_sizes": [0]}, {"dropout": 1.5}])
def test_values_out_of_range_are_refused(options):
    with pytest.raises(ConfigurationError, match=f"network.{next(iter(options))}"):
        FeedForwardNetwork(3, **options)
