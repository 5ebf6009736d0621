"""Keep freed memory in the process, by settings of glibc's malloc."""

import ctypes
import os
import platform

__all__ = ["keep_freed_memory"]

# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

_NEVER_TRIM = -1
_DEFAULT_MMAP_MAX = 65_536
_DEFAULT_MAX_TRIM_THRESHOLD = 64 * 2**20  # upper limit of glibc's automatic adjustment
_MALLOC_VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory(enabled: bool = True) -> bool:
    """Keep freed memory for the next allocation, if the C library is glibc (as on most Linux systems).

    By default, glibc returns a large block to the system as soon as it is freed, and requests a new one the next time.
    The system creates the pages of a new block when they are first written, at the cost of an interrupt and of zeroing
    each page. Every step of backpropagation through time allocates and frees the same tens of megabytes (the values
    that the backward pass needs), so this can take as long as the arithmetic. It depends on the sizes and the order of
    earlier allocations, so the same step may be fast in one program and slow in another.

    Kept memory is available to all later allocations. The process keeps its peak memory, and because blocks of all
    sizes then share one heap, also the gaps between them.

    Source: ``mallopt(3)``, ``M_MMAP_MAX`` and ``M_TRIM_THRESHOLD``. glibc cannot report the current values, and the
    first call ends its automatic adjustment of the threshold.

    Args:
        enabled: Whether to keep freed memory. False returns what is free now and restores glibc's defaults.

    Returns:
        Whether anything was set. False with another C library, or if the environment already configures malloc
        (``MALLOC_TRIM_THRESHOLD_`` and the like, or ``glibc.malloc`` in ``GLIBC_TUNABLES``); that setting stays.

    Example::

        >>> kept = keep_freed_memory()
        >>> keep_freed_memory(False) == kept
        True

    """
    if platform.libc_ver()[0] != "glibc" or _set_by_environment():
        return False
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0 if enabled else _DEFAULT_MMAP_MAX)
    libc.mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM if enabled else _DEFAULT_MAX_TRIM_THRESHOLD)
    if not enabled:
        libc.malloc_trim(ctypes.c_size_t(0))
    return True


def _set_by_environment() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc" in tunables or any(name in os.environ for name in _MALLOC_VARIABLES)
