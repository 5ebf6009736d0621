"""The diagnose command in a process of its own, and its findings by name."""

import os
import subprocess
import sys
from pathlib import Path

from vestim_pl.diagnosis import Finding


def command(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vestim_pl.diagnose", *overrides],
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}
