"""How torch's OpenMP threads wait for each other on the CPU."""

import sys
from collections.abc import MutableMapping

__all__ = ["shorten_waits"]

_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_SPINS = "3000"  # some 30 microseconds, about as long as it takes to wake a sleeping thread of a virtual machine


def shorten_waits(environment: MutableMapping[str, str]) -> bool:
    """Make a waiting thread sleep after some microseconds of spinning; call it before torch is imported.

    The threads that share an operation wait for the slowest of them. By default they spin for 3 ms (libgomp) or 200 ms
    (LLVM and Intel). Where another program has the core of the slowest thread, the others then burn the time that it
    needs to get on, and a training almost stands still. With ``OMP_WAIT_POLICY=PASSIVE`` alone they would sleep at
    once, which costs more on an idle machine; libgomp lets ``GOMP_SPINCOUNT`` overrule the policy with a short spin.

    Short waits are slower than long ones for a small network on several threads of an idle machine, so the number of
    threads has to be chosen too, see `vestim_pl.app.threads`. Where the user has set a policy or a number of threads,
    nothing is changed. OpenMP reads these variables when it is loaded, so nothing is changed after torch was imported
    either. Processes that are started later inherit the variables. Tested with torch 2.13.0 (libgomp).

    Args:
        environment: Environment of this process, ``os.environ``.

    Returns:
        Whether the environment was changed.

    Example::

        >>> shorten_waits({"OMP_WAIT_POLICY": "ACTIVE"})
        False

    """
    if "torch" in sys.modules or any(name in environment for name in _SETTINGS):
        return False
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    environment["GOMP_SPINCOUNT"] = _SPINS
    return True
