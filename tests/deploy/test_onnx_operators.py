"""Recurrences as single ONNX operators: which modules are replaced, and which cannot be."""

import pytest
import torch
from torch import nn

from vestim_pl.deploy.onnx_operators import with_onnx_operators
from vestim_pl.networks import NETWORKS, ExponentialSmoothing, build_network


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_no_recurrence_is_left_and_the_network_is_untouched(name):
    network = build_network({"name": name, "hidden_sizes": [16, 8]}, features=3)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    kinds = [type(module) for module in network.modules()]
    twin = with_onnx_operators(network)
    assert not any(isinstance(module, nn.RNNBase | ExponentialSmoothing) for module in twin.modules())
    assert [type(module) for module in network.modules()] == kinds
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bidirectional": True}, {"batch_first": False}])
def test_a_kernel_of_another_layout_is_refused(options):
    with pytest.raises(NotImplementedError, match="does not have one layer, one direction and batch first"):
        with_onnx_operators(nn.Sequential(nn.GRU(3, 4, **{"batch_first": True, **options})))
