"""Handles signals while torch is still being imported; every command imports this module first."""

import sys

from vestim_pl.lightning_support.stop_request import StopRequest

__all__: list[str] = []

_spec = getattr(sys.modules["__main__"], "__spec__", None)
if _spec is not None and _spec.name.startswith(
    "vestim_pl."
):  # not if another program imports the functions of a command
    StopRequest().__enter__()
