"""Annealed Gaussian noise for gradients, a pure function of seed and step."""

import numpy as np
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


def gaussian_noise(size: int, seed: int, step: int, stream: int, device: torch.device | str = "cpu") -> Tensor:
    """Standard normal numbers that depend on nothing but the arguments.

    A generator of its own is seeded from all three numbers, so the global generator is not touched, a resumed run
    draws what it would have drawn, and every rank draws the same.

    Args:
        size: How many.
        seed: Seed of the run.
        step: Optimizer step.
        stream: Tells apart what is drawn at the same step.
        device: Where; another kind of device draws other numbers.

    Returns:
        Tensor ``[size]``, float32.

    Example::

        >>> torch.equal(gaussian_noise(3, seed=1, step=2, stream=0), gaussian_noise(3, seed=1, step=2, stream=0))
        True

    """
    mixed = np.random.SeedSequence([seed, step, stream]).generate_state(1, np.uint64)[0]
    generator = torch.Generator(device=device).manual_seed(int(mixed >> np.uint64(1)))
    return torch.randn(size, generator=generator, device=device)
