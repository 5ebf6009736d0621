"""Estimators of every kind of network, for the tests of exported models."""

import torch
from torch import nn

from vestim_pl.estimator import VoltageEstimator
from vestim_pl.networks import NETWORKS

FEATURES = ["SOC", "Current", "Temp"]
OPTIONS = {
    "LSTM": {"hidden_sizes": [12, 6], "layer_norm": True, "dropout": 0.3},
    "GRU": {"hidden_sizes": [12, 6], "direct": [9, 5]},
    "LSTM_EMA": {"hidden_sizes": [6], "smoothing": 0.05},
    "LSTM_LPF": {"hidden_sizes": [6], "taps": 5},
    "FNN": {"hidden_sizes": [8], "history": 4},
    "Transformer": {"hidden_sizes": [8, 4], "heads": 2, "lookback": 7, "dropout": 0.3},
}
FED = {"name": "LSTM", "hidden_sizes": [5], "members": 2, "direct": [4]}  # an ensemble that is fed with RC pairs
KINDS = [*sorted(NETWORKS), "fed"]


def make_estimator(name: str, **options) -> VoltageEstimator:
    """Build an estimator with random weights and biases; ``fed`` is an ensemble that is fed with RC pairs."""
    if name == "fed":
        return randomise(VoltageEstimator(FEATURES, FED | options, rc_pairs={"steps": [3.0, 40.0]}))
    return randomise(VoltageEstimator(FEATURES, {"name": name, **OPTIONS[name], **options}))


def randomise(estimator: VoltageEstimator) -> VoltageEstimator:
    """Draw biases, which must not be mixed up, and fit the scaler."""
    generator = torch.Generator().manual_seed(2)
    for parameter in estimator.parameters():
        std = 0.4 if parameter.ndim < 2 else parameter.shape[1] ** -0.5
        nn.init.normal_(parameter, std=std, generator=generator)
    inputs = make_inputs(1, 500, len(estimator.hparams["features"]))
    if estimator.rc_pairs is not None:
        inputs = estimator.rc_pairs(inputs, estimator.rc_pairs.zero_state(1))[0]
    estimator.scaler.fit(inputs[0], 3.7 + 0.2 * torch.randn(500, generator=generator))
    return estimator.eval()


def make_inputs(batch: int, length: int, features: int = 3, seed: int = 0) -> torch.Tensor:
    """Draw SOC, current and temperature in physical units; further features are standard normal."""
    noise = torch.randn(batch, length, features, generator=torch.Generator().manual_seed(seed))
    noise[..., :3] = noise[..., :3] * torch.tensor([0.3, 4.0, 15.0]) + torch.tensor([0.5, -1.0, 10.0])
    return noise
