"""Normal numbers drawn ahead, of which every step takes a stretch of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vestim_pl.functional.gradient_noise import gaussian_noise, hashed

__all__ = ["NoiseTable"]

_STEPS = 1000  # that share the numbers drawn
_PLACES = 2**20  # where a stretch may begin


class NoiseTable:
    """Gaussian noise in the shapes of some tensors, on their device, for less than drawing it costs.

    A normal number takes a CPU 4 to 5 ns, which for each parameter in each step is 3 % of a training step of streams.
    So as many numbers as there are elements, and a million, are drawn once in a thousand steps, and a step takes them
    from a place of its own on: within a step all are independent; an element meets a number again only by chance, and
    another element may meet it in another step. Salimans et al. 2017, arXiv 1703.03864, share noise so.

    Args:
        tensors: Tensors of one device.

    Example::

        >>> table = NoiseTable([torch.zeros(2, 3), torch.zeros(4)])
        >>> first = [noise.clone() for noise in table.at(seed=1, step=7, stream=0, std=0.1)]
        >>> [tuple(noise.shape) for noise in first]
        [(2, 3), (4,)]
        >>> all(map(torch.equal, first, table.at(seed=1, step=7, stream=0, std=0.1)))
        True

    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        shapes = [tensor.shape for tensor in tensors]
        sizes = [shape.numel() for shape in shapes]
        device = tensors[0].device
        self._noise = torch.empty(sum(sizes), device=device)
        self._parts = [part.view(shape) for part, shape in zip(self._noise.split(sizes), shapes, strict=True)]
        self._table = torch.empty(len(self._noise) + _PLACES, device=device)
        self._generator = torch.Generator(device=device)
        self._drawn: tuple[int, int, int] | None = None

    def at(self, seed: int, step: int, stream: int, std: float) -> list[Tensor]:
        """Noise of a step, which depends on nothing but the arguments; overwritten by the next call.

        Args:
            seed: Seed of the run.
            step: Optimizer step.
            stream: Tells apart what is drawn at the same step.
            std: Standard deviation.

        Returns:
            One tensor for each that the table was made for, in its shape.

        """
        drawn = (seed, step // _STEPS, stream)
        if drawn != self._drawn:
            gaussian_noise(self._table, self._generator, *drawn)
            self._drawn = drawn
        place = hashed(seed, step, stream) % _PLACES
        torch.mul(self._table[place : place + len(self._noise)], std, out=self._noise)
        return self._parts
