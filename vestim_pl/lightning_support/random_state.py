"""States of the random number generators, as tensors and numbers for a checkpoint."""

import random
from functools import cache
from typing import Any

import numpy as np
import torch

__all__ = ["plain_random_states", "random_states", "raw_random_states", "restore_random_states"]


def random_states() -> dict[str, Any]:
    """Return the states of the generators of Python, numpy, torch on the CPU, and torch on every CUDA device.

    They consist of tensors, lists and numbers, so that a checkpoint with them loads with ``weights_only=True``.

    Example::

        >>> states = random_states()
        >>> first = random.random(), np.random.rand(), torch.rand(1).item()
        >>> restore_random_states(states)
        >>> (random.random(), np.random.rand(), torch.rand(1).item()) == first
        True

    """
    return plain_random_states(raw_random_states())


def raw_random_states() -> tuple[Any, ...]:
    """The same states as the generators return them: faster, for a callback that keeps them at every step."""
    numpy = np.random.get_state()  # noqa: NPY002 - the global generator is the one in use
    cuda = torch.cuda.get_rng_state_all() if _has_cuda() else []
    return random.getstate(), numpy, torch.get_rng_state(), cuda


def plain_random_states(raw: tuple[Any, ...]) -> dict[str, Any]:
    """What `random_states` returns, from what `raw_random_states` returned."""
    (version, words, gauss), (name, keys, position, has_gauss, cached), cpu, cuda = raw
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": cpu,
        "cuda": cuda,
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Restore the states from `random_states`; those of devices that this machine lacks are skipped."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(states["torch"].cpu())
    for device, state in zip(range(torch.cuda.device_count()), states["cuda"], strict=False):
        torch.cuda.set_rng_state(state.cpu(), device)


@cache
def _has_cuda() -> bool:
    return torch.cuda.is_available()
