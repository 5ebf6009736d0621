"""Imported first by every command: a signal while torch is imported ends the command in one line."""

import sys

from vestim_pl.lightning_support.stop_request import StopRequest

__all__: list[str] = []

_spec = getattr(sys.modules["__main__"], "__spec__", None)
if _spec is not None and _spec.name.startswith("vestim_pl."):  # not where a program imports a command's functions
    StopRequest().__enter__()
