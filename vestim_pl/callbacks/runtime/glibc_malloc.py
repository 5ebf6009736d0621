"""Freed memory on the CPU: kept for the next step, or given back to the system and asked for again."""

import ctypes
import os
import platform

__all__ = ["keep_freed_memory"]

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4

_NEVER = -1
_MOST_MAPPINGS = 65_536  # glibc's own
_LARGEST_TRIM_THRESHOLD = 64 * 2**20  # where glibc's own adjustment ends
_VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory(enabled: bool = True) -> bool:
    """Keep what is freed for the next allocation, where the C library is glibc (most Linux systems).

    glibc hands a large block back to the system as soon as it is freed, and asks for a new one the next time. A new
    block is pages that do not exist yet: each costs an interrupt and is set to zero when it is first written. A step of
    backpropagation through time allocates and frees the same tens of megabytes every time (the values that the
    backward pass needs), so this can take as long as the arithmetic. Whether it happens depends on sizes and order of
    earlier allocations, so that the same step is fast in one program and slow in another.

    Kept memory serves whatever is allocated next. The program does hold on to the most that it ever used at once,
    and, since blocks of all sizes then share one heap, to gaps between them.

    Source: ``mallopt(3)``, ``M_MMAP_MAX`` and ``M_TRIM_THRESHOLD``. glibc offers no way to ask for the present values,
    and its own adjustment of the threshold ends with the first call.

    Args:
        enabled: Whether to keep it. False gives back what is free now, and leaves to glibc what is freed later.

    Returns:
        Whether anything was set: False where the C library is another one, or where the environment has settings of
        its own for it (``MALLOC_TRIM_THRESHOLD_`` and the like, or ``glibc.malloc`` in ``GLIBC_TUNABLES``), which stay.

    Example::

        >>> kept = keep_freed_memory()
        >>> keep_freed_memory(False) == kept
        True

    """
    if platform.libc_ver()[0] != "glibc" or _set_by_environment():
        return False
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0 if enabled else _MOST_MAPPINGS)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER if enabled else _LARGEST_TRIM_THRESHOLD)
    if not enabled:
        libc.malloc_trim(ctypes.c_size_t(0))
    return True


def _set_by_environment() -> bool:
    return "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(name in os.environ for name in _VARIABLES)
