"""The fixtures of the callback tests."""

from tests.callbacks.conftest import fit, foreign

__all__ = ["fit", "foreign"]
