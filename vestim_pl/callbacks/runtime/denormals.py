"""Subnormal numbers on the CPU: treated as zero, or computed with at a tenth of the speed."""

import torch

__all__ = ["flush_denormals", "is_flushing", "workers_not_flushing"]

_GRAIN = 32768  # elements below which torch gives a worker no part of an elementwise operation
_TINY = 1  # bit pattern of the smallest positive float32, which is subnormal


def flush_denormals(enabled: bool = True) -> bool:
    """Treat subnormal numbers as zero on the CPU; call it before the first parallel operation of the program.

    Gradients far back in a long window are subnormal (below 1.2e-38), and the CPU computes with those in microcode: two
    to ten times slower for a whole training step. The mode belongs to a thread and is handed down to the threads that
    it starts. torch's workers start with the first parallel operation and live as long as the program, so set after
    that the mode never reaches them.

    Args:
        enabled: Whether to flush.

    Returns:
        Whether the processor can.

    Example::

        >>> before = is_flushing()
        >>> flush_denormals(True) and is_flushing()
        True
        >>> flush_denormals(before)
        True

    """
    return torch.set_flush_denormal(enabled)


def is_flushing() -> bool:
    """Whether the calling thread flushes; torch has no way to ask, so it computes with a subnormal number and looks."""
    return _survivors(1)[0] == 0


def workers_not_flushing() -> tuple[int, int]:
    """How many of torch's workers still compute with subnormal numbers, and how many there are.

    A tensor of subnormal numbers is multiplied by one, in an operation that torch cuts into one part for each worker;
    where the numbers survive, their worker does not flush. This starts the workers, if nothing has before.

    Returns:
        Workers that do not flush, and all, the calling thread being one of them.

    """
    workers = torch.get_num_threads()
    kept = _survivors(workers)
    return sum(count > 0 for count in kept), workers


def _survivors(parts: int) -> list[int]:
    """Subnormal numbers that survive a multiplication by one, in each of the equal parts of a tensor."""
    size = 2 * _GRAIN if parts > 1 else 1
    # Built from bits and read as bits: a conversion or a comparison would flush the numbers by itself.
    tiny = torch.full((parts * size,), _TINY, dtype=torch.int32).view(torch.float32)
    bits = (tiny * 1.0).view(torch.int32)
    return [int((part != 0).sum()) for part in bits.view(parts, size)]
