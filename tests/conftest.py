"""Fixtures that every part of the test suite shares."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def lg_hg2() -> Path:
    """Folder of the measured LG HG2 drive cycles; skips where they are not at hand."""
    folder = Path(os.environ.get("VESTIM_LG_HG2", ROOT.parent / "shared" / "data" / "lg-hg2"))
    if not (folder / "train").is_dir():
        pytest.skip(
            "the measured LG HG2 drive cycles are not on this machine; set VESTIM_LG_HG2 to their folder to run it"
        )
    return folder


@pytest.fixture(autouse=True)
def _restore_global_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in its own folder and leave torch's global switches as they were."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.set_flush_denormal(False)  # a training before may have left it on, and Hypothesis refuses to draw then
