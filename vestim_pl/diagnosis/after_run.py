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
from vestim_pl.reports.run_status import RunState, best_validation, run_status

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
    facts = _Facts(run)
    state = facts.status.state
    findings = [
        check_ending(facts.status, run.path),
        check_divergence(run.metrics, run.events, facts.diverged, facts.status.reason, facts.suggestion),
    ]
    if state is not RunState.TRIAL and not run.metrics.empty:
        best = best_validation(run.metrics)
        val_rmse, ended = math.nan if best is None else best[0], state in ENDED
        clip = ClipSetting.of(_section(run, "trainer"), facts.callbacks)
        findings += [
            *(_monitors(facts) if run.trained else ()),
            check_constant_prediction(
                run.steps, val_rmse, target_std_mv(run.path), facts.tolerated, ended, facts.unstable
            ),
            check_over_clipping(run.metrics, clip, facts.unstable),
            check_learning_rate_exhausted(run.metrics, run.events, facts.rate, facts.callbacks),
        ]
    return one_value_each(findings)


def quick_test_run(run: RunFolder) -> list[Finding]:
    """Check how a run ended, and the four monitors of the guide's Quick Test: loss, non-finite, validation, epoch time.

    Example::

        >>> [finding.check for finding in quick_test_run(RunFolder(Path("nowhere")))]
        ['end of the run', 'loss', 'non-finite', 'validation', 'epoch time']

    """
    facts = _Facts(run)
    return one_value_each([check_ending(facts.status, run.path), *_monitors(facts)])


def target_std_mv(path: Path) -> float:
    """Read the standard deviation in mV of a run's training voltage from its checkpoints; NaN without one."""
    for name in ("best", "last"):
        try:
            weights = load_checkpoint(path / "checkpoints" / f"{name}.ckpt")["state_dict"]
            return float(weights["scaler.target_std"]) * MILLIVOLTS
        except (ConfigurationError, KeyError, RuntimeError):  # KeyError, RuntimeError: of another module
            continue
    return math.nan


class _Facts:
    """What several checks need to know of a run.

    Attributes:
        status: How it ended.
        callbacks: The node ``callbacks`` of its configuration.
        diverged: Whether it ended in a divergence.
        unstable: Whether it diverged at any time.
        rate: ``optimizer.lr``, if it is a number.
        tolerated: Learning rate at which it ended.
        better: Learning rate to try next.
        suggestion: Recovery if the run had none, and that rate; empty without a configuration.

    """

    def __init__(self, run: RunFolder) -> None:
        self.run, self.status, self.callbacks = run, run_status(run), _section(run, "callbacks")
        self.diverged = self.status.state is RunState.DIVERGED
        self.unstable = self.diverged or any(event.get("kind") in ("rollback", "non_finite") for event in run.events)
        self.rate = _number(run.setting("optimizer.lr"))
        self.tolerated: float | None = None
        self.better: float | None = None
        if self.rate is not None:
            self.tolerated, self.better = tolerated_rate(self.rate, run.events, self.diverged, self.callbacks)
        streams = str(run.setting("sampling._target_", "")).endswith(".StreamSampling")
        recovery = missing_recovery(self.callbacks, streams) if "callbacks" in run.config else ()
        self.suggestion = (*recovery, *learning_rate(self.better))


def _monitors(facts: _Facts) -> list[Finding]:
    run, status, rate = facts.run, facts.status, facts.rate
    larger = facts.better if facts.unstable or rate is None else other_rate(rate)
    refused = status.state is RunState.FAILED and not run.trained
    faster = (("flush_denormals", "FlushDenormals"), ("keep_freed_memory", "KeepFreedMemory"))
    parts = [read_metrics([file]) for file in metric_files(run.path)] or [run.metrics]
    return [
        check_loss_curve(run.metrics, run.events, facts.better, larger),
        check_non_finite(run.metrics, run.events, facts.diverged, refused, facts.suggestion),
        check_validation_progress(run.metrics, target_std_mv(run.path), larger),
        check_epoch_time(parts, tuple(override for each in faster for override in switch_on(facts.callbacks, *each))),
    ]


def _section(run: RunFolder, name: str) -> Mapping[str, Any]:
    found = run.setting(name)
    return found if isinstance(found, Mapping) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
