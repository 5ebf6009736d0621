"""Find out from its files how a run ended."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

from vestim_pl.reports.run_folder import RunFolder

__all__ = ["RunState", "RunStatus", "best_validation", "run_status"]

_ENDS = ("stop", "interrupt", "non_finite")


class RunState(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    EARLY_STOPPED = "stopped early"
    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"
    FAILED = "failed"
    TRIAL = "trial"
    UNKNOWN = "no end recorded"


@dataclass(frozen=True)
class RunStatus:
    """State of a run and the reason in one sentence."""

    state: RunState
    reason: str


def run_status(run: RunFolder) -> RunStatus:
    """Find out how a run ended.

    The last event that ends a run decides, unless the run continued after it: there are later metrics, or a test,
    which only a training that ran to its end makes.

    Args:
        run: The run's folder.

    Example::

        >>> from pathlib import Path
        >>> event = {"kind": "stop", "reason": "no better for 15 validations", "step": 400, "values": {}}
        >>> print(run_status(RunFolder(Path("."), events=(event,))).state)
        stopped early

    """
    if run.setting("trainer.fast_dev_run"):
        return RunStatus(RunState.TRIAL, "trainer.fast_dev_run: a trial of a few batches; nothing is learnt")
    last = next((event for event in reversed(run.events) if event["kind"] in _ENDS), None)
    if last is not None and not _continued(run, last):
        return _of_event(run, last)
    return _without_event(run)


def best_validation(metrics: pd.DataFrame) -> tuple[float, int] | None:
    """Return the lowest finite validation RMSE in mV and its epoch; NaN and -1 if none was finite."""
    rows = metrics[metrics["key"] == "val/rmse_mv"]
    if rows.empty:
        return None
    finite = rows[rows["value"].map(math.isfinite)]
    if finite.empty:
        return math.nan, -1
    best = finite.sort_values("value", kind="stable").iloc[0]
    return float(best["value"]), -1 if math.isnan(best["epoch"]) else int(best["epoch"])


def _of_event(run: RunFolder, event: dict[str, Any]) -> RunStatus:
    reason, values = str(event["reason"]).removeprefix("stopped "), event.get("values", {})  # the state says "stopped"
    if event["kind"] == "interrupt":
        return RunStatus(RunState.INTERRUPTED, reason)
    error = values.get("error")  # class of the exception that ended the run
    if error not in (None, "DivergenceError"):
        return RunStatus(RunState.FAILED, reason)
    if error or event["kind"] == "non_finite" or values.get("cause") == "diverged":
        return RunStatus(RunState.DIVERGED, reason)
    last = _last_validation(run)
    if last is not None and not math.isfinite(last):
        return RunStatus(RunState.DIVERGED, f"{reason}; the last validation RMSE is {last} mV")
    complete = values.get("cause") == "limit" or _made_all(run)  # a run of an earlier version has no cause
    return RunStatus(RunState.FINISHED if complete else RunState.EARLY_STOPPED, reason)


def _last_validation(run: RunFolder) -> float | None:
    values = run.metrics.loc[run.metrics["key"] == "val/rmse_mv", "value"]
    return float(values.iloc[-1]) if len(values) else None


def _continued(run: RunFolder, event: dict[str, Any]) -> bool:
    if event["kind"] != "stop" and _tested(run):
        return True
    step = event.get("step")
    return isinstance(step, int | float) and bool((run.fit_metrics["step"] > step).any())


def _tested_what(run: RunFolder) -> str:
    checkpoints = 1 if run.errors is None or "checkpoint" not in run.errors else run.errors["checkpoint"].nunique()
    return "a checkpoint was" if checkpoints == 1 else f"{checkpoints} checkpoints were"


def _tested(run: RunFolder) -> bool:
    return run.errors is not None or bool(run.metrics["key"].str.startswith("test/").any())


def _made_all(run: RunFolder) -> bool:
    wanted = run.setting("trainer.max_epochs")
    return isinstance(wanted, int) and run.epochs >= wanted > 0


def _without_event(run: RunFolder) -> RunStatus:
    """Judge a run without such an event by its epochs, its last validation and its test."""
    last, epochs = _last_validation(run), run.epochs
    if last is not None and not math.isfinite(last):
        reason = f"the last validation RMSE is {last} mV (epoch {epochs - 1}); no event says why"
        return RunStatus(RunState.DIVERGED, reason)
    if _tested(run) and not run.trained:
        return RunStatus(RunState.FINISHED, f"{_tested_what(run)} tested, nothing was trained")
    if _tested(run) or _made_all(run):
        wanted = run.setting("trainer.max_epochs")
        limit = f" of trainer.max_epochs = {wanted}" if isinstance(wanted, int) and wanted > 0 else ""
        return RunStatus(RunState.FINISHED, f"{epochs} epochs{limit} made")
    error = next((line.split("error: ", 1)[1] for line in reversed(run.log[-5:]) if "error: " in line), None)
    if error is not None:
        return RunStatus(RunState.FAILED, error)
    event = f"; its last event: {run.events[-1]['reason']}" if run.events else ""
    where = f"in epoch {epochs - 1}" if epochs else "before anything was logged"
    return RunStatus(RunState.UNKNOWN, f"the files end {where}: it was killed, it failed, or it still runs{event}")
