"""Networks by name, and what a person reads who misspells."""

import pytest
import torch
from omegaconf import OmegaConf

from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.networks import NETWORKS, CausalLowPass, ExponentialSmoothing, build_network

FEATURES = ["SOC", "Current", "Temp"]


def test_names_stand_for_their_filters():
    filters = {name: getattr(build_network({"name": name}, 3), "output_filter", None) for name in NETWORKS}
    assert isinstance(filters.pop("LSTM_EMA"), ExponentialSmoothing)
    assert isinstance(filters.pop("LSTM_LPF"), CausalLowPass)
    assert filters == {"LSTM": None, "GRU": None, "FNN": None}


def test_options_reach_network_and_filter():
    network = build_network({"name": "LSTM_LPF", "hidden_sizes": (9, 4), "taps": 5, "dropout": 0.5}, 3)
    assert network.hidden_sizes == (9, 4)
    assert len(network.output_filter.taps) == 5
    assert network.layers[1].dropout.p == 0.5
    assert build_network({"name": "LSTM_EMA", "smoothing": 0.25}, 3).output_filter.alpha.item() == pytest.approx(0.25)


def test_a_node_of_the_configuration_is_taken_as_it_is():
    spec = OmegaConf.create({"name": "LSTM", "hidden_sizes": [8, 4], "lookback": None, "dropout": 0})
    assert build_network(spec, 3).hidden_sizes == (8, 4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "network.name: there is no network None; choose one of LSTM, GRU, LSTM_EMA, LSTM_LPF, FNN"),
        ({"name": "lstm"}, "network.name: there is no network 'lstm'; did you mean LSTM?"),
        ({"name": "LSTM-EMA"}, "network.name: there is no network 'LSTM-EMA'; did you mean LSTM_EMA?"),
        ({"name": "LSTM", "drop_out": 0.1}, "network.drop_out: no such key; did you mean dropout?"),
        ({"name": "LSTM", "cell": "GRU"}, "network.cell: no such key; choose one of "),
        ({"name": "FNN", "output_filter": 1}, "network.output_filter: no such key; choose one of "),
        ({"name": "LSTM", "taps": 3}, "network.taps: no such key"),
        ({"name": "LSTM", "hidden_sizes": 32}, "network.hidden_sizes: 32 does not fit"),
        ({"name": "LSTM", "hidden_sizes": ["32"]}, "network.hidden_sizes: ['32'] does not fit"),
        ({"name": "LSTM", "hidden_sizes": [32.5]}, "network.hidden_sizes: [32.5] does not fit"),
        ({"name": "LSTM", "dropout": "0.2"}, "network.dropout: '0.2' does not fit"),
        ({"name": "LSTM", "layer_norm": 1}, "network.layer_norm: 1 does not fit"),
        ({"name": "LSTM", "forget_bias": "ones"}, "network.forget_bias: 'ones' does not fit"),
        ({"name": "LSTM", "dropout": 2.0}, "network.dropout: 2.0 is not in [0, 1)"),
        ({"name": "LSTM_LPF", "taps": 0}, "network.taps: 0 is not positive"),
        (
            {"name": "LSTM", "memory_dropout": 0.1},
            "network.memory_dropout: 0.1 leaves nothing where the memory is left",
        ),
        ({"name": "LSTM", "memory_dropout": 1.0, "direct": [4]}, "network.memory_dropout: 1.0 is not in [0, 1)"),
        ({"name": "LSTM", "circuit": [8]}, "network.circuit: [8] does not fit"),
        ({"name": "LSTM", "circuit": {"size": [8]}}, "network.circuit.size: no such key; did you mean sizes?"),
        ({"name": "LSTM", "circuit": {"sizes": [0]}}, "network.circuit.sizes: [0] is no list of positive sizes"),
        (
            {"name": "LSTM", "circuit": {"state_of_charge": "soc"}},
            "network.circuit.state_of_charge: 'soc' is not among the inputs (SOC, Current, Temp); add",
        ),
        (
            {"name": "LSTM", "ignore": ["Tmp"]},
            "network.ignore: 'Tmp' is not among the inputs (SOC, Current, Temp); did",
        ),
        (
            {"name": "FNN", "ignore": ["SOC", "Temp", "Current"]},
            "network.ignore: ['SOC', 'Temp', 'Current'] are all inputs",
        ),
        ({"name": "LSTM", "variants": [{"direct": [4]}]} | {"members": 0}, "network.members: 0 is not positive"),
        ({"name": "LSTM", "variants": [{}, {}]}, "network.members: 1 networks are fewer than the 2 network.variants"),
        (
            {"name": "LSTM", "members": 2, "variants": [{}, {"members": 2}]},
            "network.variants[1].members: no such key; choose one of ",
        ),
        (
            {"name": "LSTM", "members": 2, "variants": [{}, {"hiden_sizes": [4]}]},
            "network.variants[1].hiden_sizes: no such key; did you mean hidden_sizes?",
        ),
        (
            {"name": "LSTM", "members": 2, "variants": [{"direct": [4]}, {"ignore": ["Tmp"]}]},
            "network.variants[1].ignore: 'Tmp' is not among the inputs",
        ),
        (
            {"name": "LSTM", "members": 2, "variants": [{}, {"circuit": {"state_of_charge": "soc"}}]},
            "network.variants[1].circuit.state_of_charge: 'soc' is not among the inputs",
        ),
        (
            {"name": "LSTM", "dropout": 2.0, "members": 2, "variants": [{"direct": [4]}, {"direct": [8]}]},
            "network.dropout: 2.0 is not in [0, 1)",
        ),
    ],
)
def test_mistakes_are_named_with_the_way_out(spec, message):
    with pytest.raises(ConfigurationError) as caught:
        build_network(spec, FEATURES)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_inputs_without_names_cannot_be_ignored():
    with pytest.raises(ConfigurationError, match="which have no names"):
        build_network({"name": "LSTM", "ignore": ["Temp"]}, 3)


def test_networks_of_an_ensemble_differ_by_the_variants_in_turn():
    variants = [{"direct": [4]}, {"hidden_sizes": [3, 2], "ignore": ["Temp"]}, {"smoothing": 0.125}]
    spec = {"name": "LSTM_EMA", "hidden_sizes": [5], "members": 5, "variants": variants}
    first, second, third, fourth, fifth = build_network(spec, FEATURES).members
    for network in (first, fourth):
        assert network.hidden_sizes == (5,)
        assert network.direct is not None
    for network in (second.network, fifth.network):
        assert network.hidden_sizes == (3, 2)
        assert network.direct is None
        assert network.layers[0].kernel.input_size == 2
    assert third.output_filter.alpha.item() == pytest.approx(0.125)
    assert first.output_filter.alpha.item() == pytest.approx(0.5)


@torch.no_grad()
def test_what_is_ignored_is_not_read_and_what_is_left_comes_in_order():
    network = build_network({"name": "LSTM", "ignore": ["Current"]}, FEATURES)
    inputs = torch.randn(2, 9, 3)
    voltage, state = network(inputs, last=4)
    torch.testing.assert_close((voltage, state), network.network(inputs[..., [0, 2]], last=4), rtol=0, atol=0)
    inputs[..., 1] = torch.nan
    assert torch.equal(network(inputs, last=4)[0], voltage)
