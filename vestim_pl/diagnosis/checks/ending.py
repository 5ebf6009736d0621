"""Report how a run ended."""

from pathlib import Path

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.reports.run_status import RunState, RunStatus
from vestim_pl.settings.override import Override

__all__ = ["check_ending"]

CHECK = "end of the run"
_SEVERITY = {
    RunState.FINISHED: Severity.OK,
    RunState.EARLY_STOPPED: Severity.OK,
    RunState.TRIAL: Severity.NOTE,
    RunState.INTERRUPTED: Severity.NOTE,
    RunState.UNKNOWN: Severity.WARNING,
    RunState.DIVERGED: Severity.ERROR,
    RunState.FAILED: Severity.ERROR,
}


def check_ending(status: RunStatus, path: Path) -> Finding:
    """Turn the state of a run into a finding, with the override that resumes it where a checkpoint allows it.

    Example::

        >>> finding = check_ending(RunStatus(RunState.FINISHED, "50 epochs made"), Path("outputs/a"))
        >>> finding.severity.value, finding.evidence
        ('ok', 'finished: 50 epochs made')

    """
    overrides: tuple[Override, ...] = ()
    last = path / "checkpoints" / "last.ckpt"
    if status.state in (RunState.INTERRUPTED, RunState.UNKNOWN) and last.is_file():
        overrides = (Override("ckpt_path", str(last)),)
    return Finding(CHECK, _SEVERITY[status.state], f"{status.state.value}: {status.reason}", overrides)
