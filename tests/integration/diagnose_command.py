"""The diagnose command in a process of its own, and its findings by name."""

import json
import subprocess
from pathlib import Path

from tests.integration.forked import run_module
from vestim_pl.diagnosis import Finding


def command(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return run_module(folder, "vestim_pl.diagnose", *overrides)


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def dead_run(folder: Path) -> Path:
    """Write what a training leaves that ended with non-finite parameters."""
    run = folder / "outputs" / "dead"
    run.mkdir(parents=True)
    event = {"kind": "non_finite", "reason": "model parameters became NaN/Inf after optimizer step", "step": 70}
    (run / "events.jsonl").write_text(json.dumps(event) + "\n")
    return run
