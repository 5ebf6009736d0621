"""Build networks by their names in a configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from vestim_pl.errors import ConfigurationError
from vestim_pl.networks.causal_low_pass import CausalLowPass
from vestim_pl.networks.ensemble import Ensemble
from vestim_pl.networks.exponential_smoothing import ExponentialSmoothing
from vestim_pl.networks.feedforward import FeedForwardNetwork
from vestim_pl.networks.options import check_positive
from vestim_pl.networks.recurrent import RecurrentNetwork
from vestim_pl.networks.transformer import TransformerNetwork
from vestim_pl.settings.arguments import argument_types, check_arguments
from vestim_pl.settings.names import nearest

__all__ = ["NETWORKS", "NetworkKind", "build_network"]


@dataclass(frozen=True)
class NetworkKind:
    """Definition of a network name: a module, fixed arguments, and an output filter.

    Attributes:
        module: Class of the network; its first argument is the number of features.
        fixed: Arguments that the name determines, so they are not options.
        output_filter: Class of the output filter; its arguments are options of the network.

    Example::

        >>> sorted(NETWORKS["LSTM_EMA"].options())
        ['direct', 'dropout', 'forget_bias', 'hidden_sizes', 'layer_norm', 'lookback', 'members', 'smoothing']

    """

    module: type[nn.Module]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    output_filter: type[nn.Module] | None = None

    @property
    def recurrent(self) -> bool:
        """Whether a recurrent state of fixed size summarises the past."""
        return issubclass(self.module, RecurrentNetwork)

    def options(self) -> dict[str, Any]:
        hidden = {"features", "output_filter", *self.fixed}
        own = {name: hint for name, hint in argument_types(self.module).items() if name not in hidden}
        return own | (argument_types(self.output_filter) if self.output_filter else {}) | {"members": int}

    def build(self, features: int, options: Mapping[str, Any]) -> nn.Module:
        filter_names = argument_types(self.output_filter).keys() if self.output_filter else set()
        own = {name: value for name, value in options.items() if name not in filter_names}
        if self.output_filter is not None:
            filter_options = {name: value for name, value in options.items() if name in filter_names}
            own["output_filter"] = self.output_filter(**filter_options)
        return self.module(features, **self.fixed, **own)


NETWORKS: dict[str, NetworkKind] = {
    "LSTM": NetworkKind(RecurrentNetwork, {"cell": "LSTM"}),
    "GRU": NetworkKind(RecurrentNetwork, {"cell": "GRU"}),
    "LSTM_EMA": NetworkKind(RecurrentNetwork, {"cell": "LSTM"}, ExponentialSmoothing),
    "LSTM_LPF": NetworkKind(RecurrentNetwork, {"cell": "LSTM"}, CausalLowPass),
    "FNN": NetworkKind(FeedForwardNetwork),
    "Transformer": NetworkKind(TransformerNetwork),
}


def build_network(spec: Mapping[str, Any], features: int) -> nn.Module:
    """Build a network from its name and options.

    Args:
        spec: ``name`` from `NETWORKS` and the options of that network; ``members`` above 1 builds an `Ensemble`.
        features: Number of input features F.

    Returns:
        A module with the protocol `Network`.

    Raises:
        ConfigurationError: If the name or an option is unknown (the message suggests the nearest valid one), or a value
            has the wrong type or is out of range.

    Example::

        >>> build_network({"name": "LSTM", "hidden_sizes": [64, 32], "dropout": 0.2}, features=3).hidden_sizes
        (64, 32)
        >>> build_network({"name": "LSTM", "hiden_sizes": [64]}, features=3)
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: network.hiden_sizes: no such key; did you mean hidden_sizes?

    """
    options = dict(spec)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in NETWORKS:
        raise ConfigurationError(f"network.name: there is no network {name!r}; {nearest(str(name), NETWORKS)}")
    _refuse_options_of_others(name, options)
    check_arguments("network", options, NETWORKS[name].options())
    members = check_positive("members", options.pop("members", 1))
    networks = [NETWORKS[name].build(features, options) for _ in range(members)]
    return networks[0] if members == 1 else Ensemble(networks)


def _refuse_options_of_others(name: str, options: Mapping[str, Any]) -> None:
    """Refuse an option that only other networks have, typically set by a preset for one of them."""
    own = NETWORKS[name].options()
    for key in options:
        others = [other for other, kind in NETWORKS.items() if key in kind.options()]
        if others and key not in own:
            raise ConfigurationError(
                f"network.{key}: no such key for {name} (only for {', '.join(others)}); remove it with ~network.{key}"
            )
