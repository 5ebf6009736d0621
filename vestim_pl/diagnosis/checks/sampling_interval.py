"""Check whether rows are equally spaced in time."""

from collections.abc import Mapping

import numpy as np

from vestim_pl.data import RecordingTable
from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_sampling_interval"]

CHECK = "sampling interval"
TOLERANCE = 0.05  # of the interval: a tester's jitter
MUCH = 0.001  # fraction of the intervals


def check_sampling_interval(tables: Mapping[str, RecordingTable]) -> Finding:
    """Count the intervals between rows that differ from the usual one.

    The network sees rows, not times: a gap looks like a jump, and a recording at another rate like another cell. No
    setting fixes this; resample the recordings.

    Args:
        tables: Rows of every split, by its name.

    Example::

        >>> import torch
        >>> time = np.array([0.0, 1.0, 2.0, 9.0])
        >>> table = RecordingTable.of(["udds"], [torch.zeros(4, 1)], [torch.zeros(4)], [time])
        >>> print(check_sampling_interval({"train": table}).evidence)
        1 of 3 intervals (33 %) is not the usual 1 s: the largest is 7 s, in train/udds after 2 s; resample the
        recordings

    """
    spans = [
        (f"{split}/{table.names[index]}", table.time[first:last])
        for split, table in tables.items()
        for index, (first, last) in enumerate(zip(table.borders[:-1], table.borders[1:], strict=True))
    ]
    intervals = [np.diff(time) for _, time in spans]
    every = np.concatenate(intervals)
    if not every.size:
        return Finding(CHECK, Severity.OK, "no recording has two rows")
    usual = float(np.median(every))
    odd = int(np.count_nonzero(np.abs(every - usual) > TOLERANCE * usual))
    if not odd:
        return Finding(CHECK, Severity.OK, f"all {len(every):,} intervals are {usual:.4g} s")
    largest = [float(np.max(np.abs(interval - usual), initial=0.0)) for interval in intervals]
    where = int(np.argmax(largest))
    row = int(np.argmax(np.abs(intervals[where] - usual)))
    name, time = spans[where]
    share, interval = odd / len(every), float(intervals[where][row])
    extreme = "largest" if interval > usual else "smallest"
    return Finding(
        CHECK,
        Severity.WARNING if share > MUCH else Severity.NOTE,
        f"{odd:,} of {len(every):,} intervals ({100 * share:.2g} %) {'is' if odd == 1 else 'are'} not the usual"
        f" {usual:.4g} s: the {extreme} is {interval:.4g} s, in {name} after {time[row]:.6g} s; resample the"
        " recordings",
    )
