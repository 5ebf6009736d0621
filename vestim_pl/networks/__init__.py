"""Networks with one protocol: ``(inputs, state) -> (voltage, state)``."""

from vestim_pl.networks.causal_low_pass import CausalLowPass
from vestim_pl.networks.exponential_smoothing import ExponentialSmoothing
from vestim_pl.networks.feedforward import FeedForwardNetwork
from vestim_pl.networks.network import Network, State
from vestim_pl.networks.rc_pairs import RCPairs
from vestim_pl.networks.recurrent import RecurrentNetwork
from vestim_pl.networks.registry import NETWORKS, build_network
from vestim_pl.networks.scaling import StandardScaler
from vestim_pl.networks.transformer import TransformerNetwork

__all__ = [
    "NETWORKS",
    "CausalLowPass",
    "ExponentialSmoothing",
    "FeedForwardNetwork",
    "Network",
    "RCPairs",
    "RecurrentNetwork",
    "StandardScaler",
    "State",
    "TransformerNetwork",
    "build_network",
]
