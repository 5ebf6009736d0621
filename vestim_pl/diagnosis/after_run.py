"""Every check of a run folder: what happened in a run that has ended, or died."""

import math
from pathlib import Path
from pickle import UnpicklingError

import torch

from vestim_pl.diagnosis.constant_prediction import check_constant_prediction
from vestim_pl.diagnosis.divergence import check_divergence
from vestim_pl.diagnosis.ending import check_ending
from vestim_pl.diagnosis.finding import Finding
from vestim_pl.diagnosis.learning_rate_exhausted import check_learning_rate_exhausted
from vestim_pl.diagnosis.over_clipping import check_over_clipping
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.run_status import RunState, best_validation, run_status

__all__ = ["diagnose_run", "target_std_mv"]

MILLIVOLTS = 1000.0


def diagnose_run(run: RunFolder) -> list[Finding]:
    """What happened in a run, from the files that it left; missing ones make a check say so, not fail.

    Args:
        run: The folder, read.

    Example::

        >>> findings = diagnose_run(RunFolder(Path("nowhere")))
        >>> [(finding.check, finding.severity.value) for finding in findings]
        [('end of the run', 'warning'), ('divergence', 'note')]

    """
    status = run_status(run)
    rate, threshold = _number(run.setting("optimizer.lr")), _number(run.setting("trainer.gradient_clip_val"))
    best = best_validation(run.metrics)
    diverged = status.state is RunState.DIVERGED
    ended = status.state in (RunState.FINISHED, RunState.EARLY_STOPPED)
    findings = [
        check_ending(status, run.path),
        check_divergence(run.metrics, run.events, diverged, status.reason, rate),
    ]
    if status.state is not RunState.TRIAL and not run.metrics.empty:
        val_rmse = math.nan if best is None else best[0]
        findings += [
            check_constant_prediction(run.steps, val_rmse, target_std_mv(run.path), rate, ended),
            check_over_clipping(run.metrics, threshold),
            check_learning_rate_exhausted(run.metrics, run.events, rate),
        ]
    return findings


def target_std_mv(path: Path) -> float:
    """Standard deviation in mV of the voltage that a run was trained on, from its checkpoints; NaN without one.

    Args:
        path: The run's folder.

    """
    for name in ("best", "last"):
        try:
            loaded = torch.load(path / "checkpoints" / f"{name}.ckpt", map_location="cpu", weights_only=True)
            return float(loaded["state_dict"]["scaler.target_std"]) * MILLIVOLTS
        except (OSError, RuntimeError, UnpicklingError, KeyError, TypeError, EOFError):
            continue
    return math.nan


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
