"""Annealed Gaussian noise for gradients, a pure function of seed and step."""

import zlib

import torch
from torch import Tensor

__all__ = ["gaussian_noise", "noise_std"]


def noise_std(step: int, eta: float, gamma: float) -> float:
    r"""Standard deviation of the noise at a step.

    .. math:: \sigma_t^2 = \frac{\eta}{(1 + t)^\gamma}

    Source: Neelakantan et al. 2015, arXiv 1511.06807.

    Args:
        step: Optimizer steps made so far, t.
        eta: Variance at the first step.
        gamma: Exponent of the decay.

    Example::

        >>> noise_std(0, eta=0.01, gamma=0.55)
        0.1

    """
    return float((eta / (1.0 + step) ** gamma) ** 0.5)


def gaussian_noise(
    out: Tensor, generator: torch.Generator, seed: int, step: int, stream: int, std: float = 1.0
) -> Tensor:
    """Fill a tensor with normal numbers that depend on nothing but the arguments.

    A generator of its own is seeded from all three integers, so the global generator is not touched, a resumed run
    draws what it would have drawn, and every rank draws the same.

    Args:
        out: Tensor to fill; another kind of device draws other numbers.
        generator: Generator of the tensor's device, to be seeded.
        seed: Seed of the run.
        step: Optimizer step.
        stream: Tells apart what is drawn at the same step.
        std: Standard deviation.

    Returns:
        The tensor.

    Example::

        >>> generator = torch.Generator()
        >>> gaussian_noise(torch.empty(3), generator, seed=1, step=2, stream=0).equal(
        ...     gaussian_noise(torch.empty(3), generator, seed=1, step=2, stream=0))
        True

    """
    return out.normal_(std=std, generator=generator.manual_seed(zlib.crc32(f"{seed} {step} {stream}".encode())))
