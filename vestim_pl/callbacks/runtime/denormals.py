"""Flush subnormal numbers to zero on the CPU, which is up to ten times slower with them."""

import torch

__all__ = ["flush_denormals", "is_flushing", "workers_not_flushing"]

_GRAIN = 32768  # fewest elements of an elementwise operation that torch gives to a worker
_TINY = 1  # bit pattern of the smallest positive float32, which is subnormal


def flush_denormals(enabled: bool = True) -> bool:
    """Treat subnormal numbers as zero on the CPU; call this before the first parallel operation of the program.

    Gradients far back in a long window are subnormal (below 1.2e-38). CPUs compute with such numbers in microcode,
    which makes a whole training step two to ten times slower. Each thread has its own mode and passes it on to the
    threads that it starts. Torch's workers start with the first parallel operation and live as long as the program, so
    a mode set after that never reaches them.

    Args:
        enabled: Whether to flush.

    Returns:
        Whether the processor can flush subnormal numbers.

    Example::

        >>> before = is_flushing()
        >>> flush_denormals(True) and is_flushing()
        True
        >>> flush_denormals(before)
        True

    """
    return torch.set_flush_denormal(enabled)


def is_flushing() -> bool:
    """Return whether the calling thread flushes; torch cannot report it, so this computes with a subnormal number."""
    return _survivors(1)[0] == 0


def workers_not_flushing() -> tuple[int, int]:
    """Count torch's workers that still compute with subnormal numbers, and all workers.

    Torch splits the multiplication of a tensor by one into one part per worker. If the subnormal numbers in a part
    survive, its worker does not flush. This starts the workers if they are not running yet.

    Returns:
        Number of workers that do not flush, and number of all workers, including the calling thread.

    """
    workers = torch.get_num_threads()
    kept = _survivors(workers)
    return sum(count > 0 for count in kept), workers


def _survivors(parts: int) -> list[int]:
    """Count the subnormal numbers that survive a multiplication by one, in each of the equal parts of a tensor."""
    size = 2 * _GRAIN if parts > 1 else 1
    # Built and read as bits, because a conversion or a comparison would itself flush the numbers.
    tiny = torch.full((parts * size,), _TINY, dtype=torch.int32).view(torch.float32)
    bits = (tiny * 1.0).view(torch.int32)
    return [int((part != 0).sum()) for part in bits.view(parts, size)]
