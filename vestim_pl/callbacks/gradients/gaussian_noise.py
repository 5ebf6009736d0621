"""Annealed Gaussian noise for gradients, which depends on seed and step alone."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["GaussianNoise", "noise_std"]


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


class GaussianNoise:
    """Standard normal noise in the shapes of some tensors, which depends on nothing but a few integers.

    A generator of its own is seeded from all of them, so the global generator is not touched, a resumed run draws what
    it would have drawn, and every rank draws the same. All is drawn at once, into memory that is allocated once while
    the shapes stay the same; a number takes a CPU 4 to 5 ns.

    Args:
        device: Where the tensors lie; another kind of device draws other numbers.

    Example::

        >>> layer = [torch.zeros(2, 3), torch.zeros(4)]
        >>> noise = GaussianNoise(torch.device("cpu"))
        >>> first = [part.clone() for part in noise.draw(layer, 1, 2)]
        >>> [tuple(part.shape) for part in first]
        [(2, 3), (4,)]
        >>> all(map(torch.equal, first, noise.draw(layer, 1, 2)))
        True

    """

    def __init__(self, device: torch.device) -> None:
        self._generator = torch.Generator(device)
        self._drawn = torch.empty(0, device=device)
        self._parts: list[Tensor] = []
        self._shapes: list[torch.Size] = []

    def draw(self, tensors: Sequence[Tensor], *numbers: int) -> list[Tensor]:
        """Noise for each tensor, in its shape, in float32; overwritten by the next call.

        Args:
            tensors: What the noise is for.
            numbers: Such as the seed of the run and the step.

        """
        shapes = list(map(Tensor.size, tensors))
        if shapes != self._shapes:
            sizes = [shape.numel() for shape in shapes]
            self._drawn = torch.empty(sum(sizes), dtype=torch.float32, device=self._drawn.device)
            self._parts = [part.view(shape) for part, shape in zip(self._drawn.split(sizes), shapes, strict=True)]
            self._shapes = shapes
        self._drawn.normal_(generator=self._generator.manual_seed(_hashed(*numbers)))
        return self._parts


def _hashed(*numbers: int) -> int:
    """One number of 64 bits from several, the same in every process."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest(), "little")
