"""Estimate a lithium-ion cell's terminal voltage with recurrent networks whose training does not end in NaN."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vestim_pl.deploy.model import load

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load":  # imports torch, which takes seconds
        from vestim_pl.deploy.model import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
