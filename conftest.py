"""Fixtures for the tests and for the doctests of the package."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _restore_global_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test and doctest in its own folder, with torch's global switches as they are by default.

    Nothing waits for the disk: no test loses power, and the tests that write a checkpoint every step would take six
    times as long. `tests/lightning_support/test_whole_checkpoint_io.py` holds the calls to their order.
    """
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.set_flush_denormal(False)  # a training before may have left it on, and Hypothesis refuses to draw then
