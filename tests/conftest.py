"""Fixtures that every part of the test suite shares."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def lg_hg2() -> Path:
    """Folder of the measured LG HG2 drive cycles; skips if they are missing."""
    folder = Path(os.environ.get("VESTIM_LG_HG2", ROOT.parent / "shared" / "data" / "lg-hg2"))
    if not (folder / "train").is_dir():
        pytest.skip(
            "the measured LG HG2 drive cycles are not on this machine; set VESTIM_LG_HG2 to their folder to run it"
        )
    return folder
