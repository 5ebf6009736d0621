"""Build the direct path from the inputs of a step to its voltage."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

__all__ = ["perceptron"]


def perceptron(features: int, sizes: Sequence[int]) -> nn.Sequential:
    """Build a multilayer perceptron ``[..., F]`` to ``[..., 1]``, with tanh layers and torch's initial weights."""
    layers = [nn.Sequential(nn.Linear(width, size), nn.Tanh()) for width, size in pairwise((features, *sizes))]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
