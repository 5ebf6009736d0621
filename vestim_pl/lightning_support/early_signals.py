"""Imported first by every command, before torch: thread waits are short, and a signal ends the command in one line."""

import os
import sys

from vestim_pl.lightning_support.stop_request import StopRequest
from vestim_pl.lightning_support.thread_waits import shorten_waits

__all__: list[str] = []

_spec = getattr(sys.modules["__main__"], "__spec__", None)
if _spec is not None and _spec.name.startswith("vestim_pl."):  # not where a program imports a command's functions
    shorten_waits(os.environ)
    StopRequest().__enter__()
