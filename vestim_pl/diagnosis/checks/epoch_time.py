"""Check whether epochs became slower during a run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vestim_pl.diagnosis.checks.epoch_values import epoch_values
from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["check_epoch_time"]

CHECK = "epoch time"
SLOWER = 3.0  # times an earlier stretch; one other busy program on each core gives 2.5
WORKED = 2.0  # the limit where the processor time rose as much; other programs hardly change that
SECONDS = 0.2  # least difference of an epoch; smaller ones are noise
SHORTEST = 3  # epochs of a stretch; a tenth of the run if that is more
MOST = 1000  # stretches that are compared, spread evenly over a longer run
LOOKBACKS = ("lookback", "adaptive_lookback/steps")


@dataclass(frozen=True)
class _Rise:
    """A stretch of epochs that was slower than an earlier stretch."""

    excess: float
    ratio: float
    before: float
    after: float
    cpu: float
    epoch: int


def check_epoch_time(parts: Sequence[pd.DataFrame], suggestion: tuple[Override, ...] = ()) -> Finding:
    """Find a stretch of epochs that took three times as long as an earlier one, without the validation.

    The limit is twice as long if the processor time rose as well: training had more work, or the processor became
    slower. Otherwise another program used the machine, or the data arrived late; the limit of three allows for one
    other program on each core.

    A stretch is a tenth of the epochs, at least three, and its median counts, so a few slow epochs do not matter.
    Growing windows (``LookbackWarmup``, ``AdaptiveLookback``) may take proportionally more time. The first epoch, which
    allocates memory and selects kernels, does not count. A resumed run may be on another machine, so each part is
    judged separately.

    Args:
        parts: Metrics of each process that trained, rows ``key``, ``epoch``, ``step``, ``value``.
        suggestion: Overrides for a training whose processor time rises.

    Example::

        >>> keys = ["epoch/training_seconds"] * 9 + ["epoch/training_cpu_seconds"] * 9
        >>> values = [4.1, 2.0, 2.1, 2.0, 2.0, 2.0, 6.1, 6.0, 6.2] + [3.0] * 9
        >>> part = pd.DataFrame({"key": keys, "epoch": [*range(9)] * 2, "step": [*range(9)] * 2, "value": values})
        >>> print(check_epoch_time([part]).evidence)
        3 epochs up to epoch 8 took 6.1 s each, 3 earlier ones 2 s: 3.05 times (limit 3); the processor time did not
        rise (1 times): another program used the machine, or it waited for data; repeat the run on an idle machine

    """
    judged = [(seconds, rise) for part in parts for seconds, rise in [_judge(part)] if rise is not None]
    if not judged:
        made = max((len(epoch_values(part, "epoch/training_seconds")[0]) for part in parts), default=0)
        return Finding(CHECK, Severity.NOTE, f"not judged: {made} timed epochs, {2 * SHORTEST + 1} are needed")
    seconds, rise = max(judged, key=lambda each: each[1].excess)
    if rise.excess < 1:
        usual = f"{np.median(seconds):.3g} s an epoch (median, without the validation)"
        return Finding(CHECK, Severity.OK, f"{usual}, the slowest stretch {rise.ratio:.2g} times an earlier one")
    length, worked = _stretch(len(seconds)), rise.cpu >= WORKED
    evidence = (
        f"{length} epochs up to epoch {rise.epoch} took {rise.after:.3g} s each, {length} earlier ones"
        f" {rise.before:.3g} s: {rise.ratio:.3g} times (limit {WORKED if worked else SLOWER:g})"
    )
    if not np.isfinite(rise.cpu):
        return Finding(CHECK, Severity.WARNING, evidence)
    if worked:
        reason = f"the processor time rose {rise.cpu:.2g} times: training had more work, or the processor was slower"
        return Finding(CHECK, Severity.WARNING, f"{evidence}; {reason}", suggestion)
    rose = "did not rise" if rise.cpu < 1.2 else "rose less"
    reason = (
        f"the processor time {rose} ({rise.cpu:.2g} times): another program used the machine, or it waited for data;"
        " repeat the run on an idle machine"
    )
    return Finding(CHECK, Severity.WARNING, f"{evidence}; {reason}")


def _stretch(epochs: int) -> int:
    return max(SHORTEST, epochs // 10)


def _judge(part: pd.DataFrame) -> tuple[NDArray[np.float64], _Rise | None]:
    """Seconds of the epochs without the first, and the largest rise between two stretches."""
    epochs, seconds = epoch_values(part, "epoch/training_seconds")
    _, cpu = epoch_values(part, "epoch/training_cpu_seconds")
    if len(cpu) != len(seconds):
        cpu = np.full_like(seconds, np.nan)
    epochs, seconds, cpu, lookback = epochs[1:], seconds[1:], cpu[1:], _lookbacks(part)[1:]
    length = _stretch(len(seconds))
    if len(seconds) < 2 * length:
        return seconds, None
    time, processor = (
        np.median(sliding_window_view(each, length), axis=1) for each in (seconds.clip(1e-3), cpu.clip(1e-3))
    )
    windows = sliding_window_view(lookback, length)
    at = np.unique(np.linspace(0, len(time) - 1, MOST).round().astype(int))
    i, j = at[:, None], at[None, :]
    explained = np.maximum(1.0, windows.max(axis=1)[j] / windows.min(axis=1)[i])  # by longer windows
    slower, worked = time[j] / time[i] / explained, processor[j] / processor[i] / explained
    excess = np.fmax(slower / SLOWER, np.minimum(slower, worked) / WORKED)
    excess[(j - i < length) | (time[j] - time[i] < SECONDS)] = 0.0
    pair = np.unravel_index(int(excess.argmax()), excess.shape)
    earlier, later = (int(at[index]) for index in pair)
    rise = _Rise(
        excess=float(excess[pair]),
        ratio=float(slower[pair]) if excess[pair] else 1.0,
        before=float(time[earlier]),
        after=float(time[later]),
        cpu=float(worked[pair]),
        epoch=int(epochs[later + length - 1]),
    )
    return seconds, rise


def _lookbacks(part: pd.DataFrame) -> NDArray[np.float64]:
    """Longest window in each timed epoch; 1 if no callback changed it."""
    ends = part[part["key"] == "epoch/training_seconds"].drop_duplicates("epoch", keep="last").sort_values("epoch")
    steps = ends["step"].to_numpy("float64")
    longest = np.full(len(steps), np.inf)
    for key in LOOKBACKS:
        rows = part[part["key"] == key].sort_values("step", kind="stable")
        if rows.empty or not len(steps):
            continue
        at, values = rows["step"].to_numpy("float64"), rows["value"].to_numpy("float64")
        held = np.array(
            [_longest(at, values, begin, end) for begin, end in zip([-1.0, *steps[:-1]], steps, strict=True)]
        )
        longest = np.minimum(longest, held)
    return np.where(np.isfinite(longest), longest, 1.0)


def _longest(at: NDArray[np.float64], values: NDArray[np.float64], begin: float, end: float) -> float:
    """Largest value in force after step ``begin`` up to ``end``; the first logged one before any was logged."""
    inside = values[(at > begin) & (at <= end)]
    before = values[at <= begin]
    return float(max([*inside, before[-1] if len(before) else values[0]]))
