"""How a run ended, told from what it has left."""

import math
import re
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from vestim_pl.reports.run_folder import RunFolder

__all__ = ["RunState", "RunStatus", "best_validation", "run_status"]

_NON_FINITE = re.compile(r"\b(nan|[+-]?inf|infinite|non-finite|not finite|diverge\w*|diverging)\b", re.IGNORECASE)
_ENDS = ("stop", "interrupt", "non_finite")


class RunState(StrEnum):
    """The ways in which a run ends."""

    FINISHED = "finished"
    EARLY_STOPPED = "stopped early"
    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"
    FAILED = "failed"
    TRIAL = "trial"
    UNKNOWN = "no end recorded"


@dataclass(frozen=True)
class RunStatus:
    """State and, in one sentence, why."""

    state: RunState
    reason: str


def run_status(run: RunFolder) -> RunStatus:
    """Say how a run ended.

    The last event that ends a run decides, unless the run went on after it: later metrics, or a test, which is only
    made when training ended by itself.

    Args:
        run: The run's folder.

    Example::

        >>> from pathlib import Path
        >>> event = {"kind": "stop", "reason": "no better for 15 validations", "step": 400}
        >>> print(run_status(RunFolder(Path("."), events=(event,))).state)
        stopped early

    """
    if run.setting("trainer.fast_dev_run"):
        return RunStatus(RunState.TRIAL, "trainer.fast_dev_run: a few batches to see that it runs; nothing is learnt")
    last = next((event for event in reversed(run.events) if event["kind"] in _ENDS), None)
    if last is not None and not _went_on(run, last):
        reason = str(last["reason"])
        if last["kind"] == "interrupt":
            return RunStatus(RunState.INTERRUPTED, reason)
        if last["kind"] == "non_finite" or _NON_FINITE.search(reason):
            return RunStatus(RunState.DIVERGED, reason)
        return RunStatus(RunState.EARLY_STOPPED, reason)
    return _without_event(run)


def best_validation(metrics: pd.DataFrame) -> tuple[float, int] | None:
    """Lowest finite validation RMSE in mV and its epoch, as numbered in the file; NaN and -1 where none was finite."""
    rows = metrics[metrics["key"] == "val/rmse_mv"]
    if rows.empty:
        return None
    finite = rows[rows["value"].map(math.isfinite)]
    if finite.empty:
        return math.nan, -1
    best = finite.sort_values("value", kind="stable").iloc[0]
    return float(best["value"]), -1 if math.isnan(best["epoch"]) else int(best["epoch"])


def _went_on(run: RunFolder, event: dict[str, object]) -> bool:
    if event["kind"] != "stop" and _tested(run):
        return True
    step = event.get("step")
    fit = run.metrics[~run.metrics["key"].str.startswith("test/")]
    return isinstance(step, int | float) and bool((fit["step"] > step).any())


def _tested(run: RunFolder) -> bool:
    return run.errors is not None or bool(run.metrics["key"].str.startswith("test/").any())


def _without_event(run: RunFolder) -> RunStatus:
    """Where no event ended the run: the epochs made, the last validation, whether there was a test."""
    validation = run.metrics.loc[run.metrics["key"] == "val/rmse_mv", "value"]
    fit = run.metrics[~run.metrics["key"].str.startswith("test/")]
    epochs = 0 if fit["epoch"].isna().all() else int(fit["epoch"].max()) + 1
    wanted = run.setting("trainer.max_epochs")
    if len(validation) and not math.isfinite(validation.iloc[-1]):
        return RunStatus(
            RunState.DIVERGED,
            f"the last validation RMSE is {validation.iloc[-1]} mV (epoch {epochs - 1}); no event says why",
        )
    if _tested(run) or (isinstance(wanted, int) and epochs >= wanted > 0):
        told = f" of trainer.max_epochs = {wanted}" if isinstance(wanted, int) and wanted > 0 else ""
        return RunStatus(RunState.FINISHED, f"{epochs} epochs{told} made")
    error = next((line.split("error: ", 1)[1] for line in reversed(run.log[-5:]) if "error: " in line), None)
    if error is not None:
        return RunStatus(RunState.DIVERGED if _NON_FINITE.search(error) else RunState.FAILED, error)
    if run.metrics.empty:
        return RunStatus(RunState.UNKNOWN, "no metrics and no event that ends it: it died early or has only begun")
    said = f"; its last event: {run.events[-1]['reason']}" if run.events else ""
    return RunStatus(RunState.UNKNOWN, f"{epochs} epochs begun, then nothing: it was killed or still runs{said}")
