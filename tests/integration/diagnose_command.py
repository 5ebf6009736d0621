"""The diagnose command in a fork of the test process, and its findings by name."""

import subprocess
from pathlib import Path

from tests.integration.forked import run_module
from vestim_pl.diagnosis import Finding


def command(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return run_module(folder, "vestim_pl.diagnose", *overrides)


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}
