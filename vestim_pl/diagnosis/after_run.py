"""Run every check on the folder of a run, finished or not."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vestim_pl.deploy.checkpoint import load_checkpoint
from vestim_pl.diagnosis.checks.clipping import ClipSetting
from vestim_pl.diagnosis.checks.constant_prediction import check_constant_prediction, other_rate
from vestim_pl.diagnosis.checks.divergence import check_divergence
from vestim_pl.diagnosis.checks.ending import check_ending
from vestim_pl.diagnosis.checks.epoch_time import check_epoch_time
from vestim_pl.diagnosis.checks.learning_rate_exhausted import check_learning_rate_exhausted
from vestim_pl.diagnosis.checks.loss_curve import check_loss_curve
from vestim_pl.diagnosis.checks.non_finite import check_non_finite
from vestim_pl.diagnosis.checks.over_clipping import check_over_clipping
from vestim_pl.diagnosis.checks.validation_progress import check_validation_progress
from vestim_pl.diagnosis.finding import Finding, one_value_each
from vestim_pl.diagnosis.overrides import learning_rate, missing_recovery, switch_on, tolerated_rate
from vestim_pl.errors import ConfigurationError
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.run_metrics import metric_files, read_metrics
from vestim_pl.reports.run_status import RunState, RunStatus, best_validation, run_status
from vestim_pl.settings.override import Override

__all__ = ["diagnose_run", "quick_test_run", "target_std_mv"]

MILLIVOLTS = 1000.0
ENDED = (RunState.FINISHED, RunState.EARLY_STOPPED)


def diagnose_run(run: RunFolder) -> list[Finding]:
    """Diagnose a run from its files; a check reports a missing file instead of failing.

    Example::

        >>> findings = diagnose_run(RunFolder(Path("nowhere")))
        >>> [(finding.check, finding.severity.value) for finding in findings]
        [('end of the run', 'warning'), ('divergence', 'note')]

    """
    status = run_status(run)
    callbacks, trainer = _section(run, "callbacks"), _section(run, "trainer")
    diverged = status.state is RunState.DIVERGED
    unstable = diverged or _was_unstable(run)
    rate = _number(run.setting("optimizer.lr"))
    tolerated, better = (None, None) if rate is None else tolerated_rate(rate, run.events, diverged, callbacks)
    findings = [
        check_ending(status, run.path),
        check_divergence(run.metrics, run.events, diverged, status.reason, _suggestion(run, callbacks, better)),
    ]
    if status.state is not RunState.TRIAL and not run.metrics.empty:
        best = best_validation(run.metrics)
        val_rmse, ended = math.nan if best is None else best[0], status.state in ENDED
        findings += [
            *(_monitors(run, status) if run.trained else ()),
            check_constant_prediction(run.steps, val_rmse, target_std_mv(run.path), tolerated, ended, unstable),
            check_over_clipping(run.metrics, ClipSetting.of(trainer, callbacks), unstable),
            check_learning_rate_exhausted(run.metrics, run.events, rate, callbacks),
        ]
    return one_value_each(findings)


def quick_test_run(run: RunFolder) -> list[Finding]:
    """Check how a run ended, and the four monitors of the guide's Quick Test: loss, non-finite, validation, epoch time.

    Example::

        >>> [finding.check for finding in quick_test_run(RunFolder(Path("nowhere")))]
        ['end of the run', 'loss', 'non-finite', 'validation', 'epoch time']

    """
    status = run_status(run)
    return one_value_each([check_ending(status, run.path), *_monitors(run, status)])


def _monitors(run: RunFolder, status: RunStatus) -> list[Finding]:
    callbacks = _section(run, "callbacks")
    diverged = status.state is RunState.DIVERGED
    unstable = diverged or _was_unstable(run)
    rate = _number(run.setting("optimizer.lr"))
    better = None if rate is None else tolerated_rate(rate, run.events, diverged, callbacks)[1]
    larger = better if unstable or rate is None else other_rate(rate)
    refused = status.reason if status.state is RunState.FAILED and not run.trained else ""
    faster = (("flush_denormals", "FlushDenormals"), ("keep_freed_memory", "KeepFreedMemory"))
    parts = [read_metrics([file]) for file in metric_files(run.path)] or [run.metrics]
    return [
        check_loss_curve(run.metrics, run.events, better, larger),
        check_non_finite(run.metrics, run.events, diverged, refused, _suggestion(run, callbacks, better)),
        check_validation_progress(run.metrics, target_std_mv(run.path), larger),
        check_epoch_time(parts, tuple(override for each in faster for override in switch_on(callbacks, *each))),
    ]


def _was_unstable(run: RunFolder) -> bool:
    return any(event.get("kind") in ("rollback", "non_finite") for event in run.events)


def target_std_mv(path: Path) -> float:
    """Read the standard deviation in mV of a run's training voltage from its checkpoints; NaN without one."""
    for name in ("best", "last"):
        try:
            weights = load_checkpoint(path / "checkpoints" / f"{name}.ckpt")["state_dict"]
            return float(weights["scaler.target_std"]) * MILLIVOLTS
        except (ConfigurationError, KeyError, RuntimeError):  # KeyError, RuntimeError: of another module
            continue
    return math.nan


def _suggestion(run: RunFolder, callbacks: Mapping[str, Any], rate: float | None) -> tuple[Override, ...]:
    """Suggest a recovery if the run had none, and a tolerable learning rate; nothing without a configuration."""
    streams = str(run.setting("sampling._target_", "")).endswith(".StreamSampling")
    recovery = missing_recovery(callbacks, streams) if "callbacks" in run.config else ()
    return (*recovery, *learning_rate(rate))


def _section(run: RunFolder, name: str) -> Mapping[str, Any]:
    found = run.setting(name)
    return found if isinstance(found, Mapping) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
