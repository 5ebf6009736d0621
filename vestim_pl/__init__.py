"""Estimate a lithium-ion cell's terminal voltage with recurrent networks whose training does not end in NaN."""

__all__ = ["__version__"]

__version__ = "0.1.0"
