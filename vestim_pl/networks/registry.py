"""Networks by name, as a configuration names them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from vestim_pl.functional.arguments import argument_types, check_arguments, nearest
from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.networks.causal_low_pass import CausalLowPass
from vestim_pl.networks.ensemble import Ensemble
from vestim_pl.networks.exponential_smoothing import ExponentialSmoothing
from vestim_pl.networks.feedforward import FeedForwardNetwork
from vestim_pl.networks.input_selection import InputSelection
from vestim_pl.networks.options import check_positive
from vestim_pl.networks.recurrent import RecurrentNetwork

__all__ = ["NETWORKS", "NetworkKind", "build_network"]


_ENSEMBLE: dict[str, Any] = {"members": int, "variants": Sequence[Mapping[str, Any]]}  # for any network


@dataclass(frozen=True)
class NetworkKind:
    """What a name stands for: a module, arguments that the name settles, and an output filter.

    Attributes:
        module: Class of the network; its first argument is the number of features.
        settled: Arguments that the name settles; they are no options.
        output_filter: Class of the output filter; its arguments are options of the network.

    Example::

        >>> sorted(NETWORKS["FNN"].options())
        ['dropout', 'hidden_sizes', 'history', 'ignore', 'layer_norm', 'members', 'variants']

    """

    module: type[nn.Module]
    settled: Mapping[str, Any] = field(default_factory=dict)
    output_filter: type[nn.Module] | None = None

    def options(self) -> dict[str, Any]:
        """Type of every option by its name."""
        hidden = {"features", "output_filter", *self.settled}
        own = {name: hint for name, hint in argument_types(self.module).items() if name not in hidden}
        filters = argument_types(self.output_filter) if self.output_filter else {}
        return own | filters | {"ignore": Sequence[str]} | _ENSEMBLE

    def build(self, features: int | Sequence[str], options: Mapping[str, Any]) -> nn.Module:
        """The network with checked options."""
        options = dict(options)
        ignored = options.pop("ignore", ())
        if ignored:
            places = _places_read(features, ignored)
            names = features if isinstance(features, int) else [features[place] for place in places]
            return InputSelection(self.build(names, options), places)
        filter_names = argument_types(self.output_filter).keys() if self.output_filter else set()
        own = {name: value for name, value in options.items() if name not in filter_names}
        if self.output_filter is not None:
            filter_options = {name: value for name, value in options.items() if name in filter_names}
            own["output_filter"] = self.output_filter(**filter_options)
        return self.module(features, **self.settled, **own)


NETWORKS: dict[str, NetworkKind] = {
    "LSTM": NetworkKind(RecurrentNetwork, {"cell": "LSTM"}),
    "GRU": NetworkKind(RecurrentNetwork, {"cell": "GRU"}),
    "LSTM_EMA": NetworkKind(RecurrentNetwork, {"cell": "LSTM"}, ExponentialSmoothing),
    "LSTM_LPF": NetworkKind(RecurrentNetwork, {"cell": "LSTM"}, CausalLowPass),
    "FNN": NetworkKind(FeedForwardNetwork),
}


def build_network(spec: Mapping[str, Any], features: int | Sequence[str]) -> nn.Module:
    """Build a network from its name and options.

    Args:
        spec: ``name``, one of :data:`NETWORKS`, and that network's options; ``ignore``, names of inputs that it does
            not read; ``members`` above 1 for an
            :class:`~vestim_pl.networks.ensemble.Ensemble` of as many; ``variants``, options by which they differ, taken
            in turn: of two, the first for every other network.
        features: Number of input features F, or their names.

    Returns:
        A module that keeps the protocol :class:`~vestim_pl.networks.network.Network`.

    Raises:
        ConfigurationError: If the name or an option is unknown (the message names the nearest valid one), or a value
            is of the wrong type or out of range.

    Example::

        >>> build_network({"name": "LSTM", "hidden_sizes": [64, 32], "dropout": 0.2}, features=3).hidden_sizes
        (64, 32)
        >>> build_network({"name": "LSTM", "hiden_sizes": [64]}, features=3)
        Traceback (most recent call last):
        ...
        vestim_pl.functional.errors.ConfigurationError: network.hiden_sizes: no such key; did you mean hidden_sizes?

    """
    options = dict(spec)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in NETWORKS:
        raise ConfigurationError(f"network.name: there is no network {name!r}; {nearest(str(name), NETWORKS)}")
    kind = NETWORKS[name]
    check_arguments("network", options, kind.options())
    members, variants = check_positive("members", options.pop("members", 1)), options.pop("variants", ()) or [{}]
    if members < len(variants):
        raise ConfigurationError(
            f"network.members: {members} networks are fewer than the {len(variants)} network.variants; use"
            f" network.members={len(variants)}, or network.variants=[] for networks of one kind"
        )
    for index, variant in enumerate(variants):
        own = {key: hint for key, hint in kind.options().items() if key not in _ENSEMBLE}
        check_arguments(f"network.variants[{index}]", variant, own)
    networks = [_build_member(kind, features, options, variants, index % len(variants)) for index in range(members)]
    return networks[0] if members == 1 else Ensemble(networks)


def _build_member(
    kind: NetworkKind, features: int | Sequence[str], options: Mapping[str, Any], variants: Sequence[Any], place: int
) -> nn.Module:
    """A network of an ensemble; a mistake in what its variant says is told of the variant."""
    try:
        return kind.build(features, {**options, **variants[place]})
    except ConfigurationError as error:
        setting = re.match(r"network\.(\w+)", str(error))
        if setting is None or setting[1] not in variants[place]:
            raise
        raise ConfigurationError(str(error).replace("network.", f"network.variants[{place}].", 1)) from error


def _places_read(features: int | Sequence[str], ignored: Sequence[str]) -> list[int]:
    """Places of the inputs that are not ignored."""
    names = [] if isinstance(features, int) else list(features)
    for name in ignored:
        if name not in names:
            known, way = ", ".join(names) or "which have no names", f"{nearest(name, names)}, or " if names else ""
            raise ConfigurationError(f"network.ignore: {name!r} is not among the inputs ({known}); {way}do not name it")
    places = [place for place, name in enumerate(names) if name not in ignored]
    if not places:
        raise ConfigurationError(f"network.ignore: {list(ignored)} are all inputs; leave one that the network reads")
    return places
