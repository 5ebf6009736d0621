"""Networks by name, and the messages for misspelt names and options."""

import pytest
from omegaconf import OmegaConf

from vestim_pl.errors import ConfigurationError
from vestim_pl.networks import NETWORKS, CausalLowPass, ExponentialSmoothing, build_network


def test_names_select_their_filters():
    filters = {name: getattr(build_network({"name": name}, 3), "output_filter", None) for name in NETWORKS}
    assert isinstance(filters.pop("LSTM_EMA"), ExponentialSmoothing)
    assert isinstance(filters.pop("LSTM_LPF"), CausalLowPass)
    assert set(filters.values()) == {None}


def test_options_reach_network_and_filter():
    network = build_network({"name": "LSTM_LPF", "hidden_sizes": (9, 4), "taps": 5, "dropout": 0.5}, 3)
    assert network.hidden_sizes == (9, 4)
    assert len(network.output_filter.taps) == 5
    assert network.layers[1].dropout.p == 0.5
    assert build_network({"name": "LSTM_EMA", "smoothing": 0.25}, 3).output_filter.alpha.item() == pytest.approx(0.25)


def test_an_omegaconf_node_is_accepted():
    spec = OmegaConf.create({"name": "LSTM", "hidden_sizes": [8, 4], "lookback": None, "dropout": 0})
    assert build_network(spec, 3).hidden_sizes == (8, 4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, f"network.name: there is no network None; choose one of {', '.join(NETWORKS)}"),
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
            {"name": "Transformer", "forget_bias": "chrono"},
            "network.forget_bias: no such key for Transformer (only ",
        ),
        ({"name": "Transformer", "lookback": 0}, "network.lookback: 0 is not positive"),
        (
            {"name": "Transformer", "hidden_sizes": [10, 30]},
            "network.heads: 4 heads cannot divide layers of sizes [10, 30] into equal parts of at least two features; ",
        ),
        ({"name": "Transformer", "layer_norm": False}, "network.layer_norm: false, but the layers of a Transformer"),
    ],
)
def test_mistakes_are_refused_with_a_suggestion(spec, message):
    with pytest.raises(ConfigurationError) as caught:
        build_network(spec, 3)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
