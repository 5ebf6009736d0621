from pathlib import Path

import pytest

from vestim_pl.diagnosis.checks.ending import check_ending
from vestim_pl.reports.run_status import RunState, RunStatus


@pytest.mark.parametrize("state", RunState)
def test_every_state_has_a_severity(state, tmp_path):
    finding = check_ending(RunStatus(state, "why"), tmp_path)
    assert finding.evidence == f"{state.value}: why"
    grave = {RunState.DIVERGED: "error", RunState.FAILED: "error", RunState.UNKNOWN: "warning"}
    fine = {RunState.FINISHED: "ok", RunState.EARLY_STOPPED: "ok"}
    assert finding.severity == (grave | fine).get(state, "note")


def test_an_interrupted_run_gets_the_override_that_resumes_it(tmp_path: Path):
    assert not check_ending(RunStatus(RunState.INTERRUPTED, ""), tmp_path).override
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    override = check_ending(RunStatus(RunState.INTERRUPTED, ""), tmp_path).override
    assert override == f"ckpt_path={tmp_path}/checkpoints/last.ckpt"
    assert not check_ending(RunStatus(RunState.FINISHED, ""), tmp_path).override
