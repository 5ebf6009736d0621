"""Annealed Gaussian noise for gradients, pure functions of seed and step."""

import hashlib

import torch
from torch import Tensor

__all__ = ["gaussian_noise", "hashed", "noise_std"]


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


def hashed(*numbers: int) -> int:
    """One number of 64 bits from several, the same in every process.

    Example::

        >>> hashed(0, 1) == hashed(0, 1), hashed(0, 1) == hashed(1, 0)
        (True, False)

    """
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest(), "little")


def gaussian_noise(out: Tensor, generator: torch.Generator, *numbers: int) -> Tensor:
    """Fill a tensor with normal numbers that depend on nothing but the integers.

    A generator of its own is seeded from all of them, so the global generator is not touched, a resumed run draws what
    it would have drawn, and every rank draws the same.

    Args:
        out: Tensor to fill; another kind of device draws other numbers.
        generator: Generator of the tensor's device, to be seeded.
        numbers: Such as the seed of the run and the step.

    Returns:
        The tensor.

    Example::

        >>> generator = torch.Generator()
        >>> gaussian_noise(torch.empty(3), generator, 1, 2).equal(gaussian_noise(torch.empty(3), generator, 1, 2))
        True

    """
    return out.normal_(generator=generator.manual_seed(hashed(*numbers)))
