"""Imported first by every command: what has to be set before torch is imported, which takes seconds.

A signal in these seconds ends the command in one line. Commands that choose the number of threads have short waits.
"""

import os
import sys

from vestim_pl.lightning_support.stop_request import StopRequest
from vestim_pl.lightning_support.thread_waits import shorten_waits

__all__: list[str] = []

_spec = getattr(sys.modules["__main__"], "__spec__", None)
if _spec is not None and _spec.name.startswith("vestim_pl."):  # not where a program imports a command's functions
    if _spec.name in ("vestim_pl.train", "vestim_pl.evaluate", "vestim_pl.diagnose"):
        shorten_waits(os.environ)
    StopRequest().__enter__()
