"""Imported first by every command: what has to be set before torch is imported, which takes seconds.

A signal in these seconds ends the command in one line. Commands that choose the number of threads have short waits.
"""

import os
import sys
from collections.abc import MutableMapping

from vestim_pl.lightning_support.stop_request import StopRequest

__all__ = ["shorten_waits"]

_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_SPINS = "3000"  # some 30 microseconds, about as long as it takes to wake a sleeping thread of a virtual machine


def shorten_waits(environment: MutableMapping[str, str]) -> bool:
    """Make a waiting thread sleep after some microseconds of spinning; returns whether the environment was changed.

    The threads that share an operation wait for the slowest of them. By default they spin for 3 ms (libgomp) or 200 ms
    (LLVM and Intel). If another program has the core of the slowest thread, they burn the time that it needs, and a
    training almost stands still. With ``OMP_WAIT_POLICY=PASSIVE`` alone they would sleep at once, which costs more on
    an idle machine; libgomp lets ``GOMP_SPINCOUNT`` overrule the policy with a short spin.

    Short waits are slower for a small network on several threads of an idle machine, so the number of threads has to be
    chosen too, see `vestim_pl.app.threads`. A policy or a number of threads that the user has set stays. OpenMP reads
    these variables when it is loaded, so nothing is changed after torch was imported. Processes that are started later
    inherit the variables. Tested with torch 2.13.0 (libgomp).

    Example::

        >>> shorten_waits({"OMP_WAIT_POLICY": "ACTIVE"})
        False

    """
    if "torch" in sys.modules or any(name in environment for name in _SETTINGS):
        return False
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    environment["GOMP_SPINCOUNT"] = _SPINS
    return True


_spec = getattr(sys.modules["__main__"], "__spec__", None)
if _spec is not None and _spec.name.startswith("vestim_pl."):  # not where a program imports a command's functions
    if _spec.name in ("vestim_pl.train", "vestim_pl.evaluate", "vestim_pl.diagnose"):
        shorten_waits(os.environ)
    StopRequest().__enter__()
