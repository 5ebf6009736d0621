"""Duration of a run."""

import re
from itertools import pairwise

from vestim_pl.reports.run_folder import RunFolder

__all__ = ["run_duration", "run_seconds"]

_CLOCK = re.compile(r"^(?:\d{4}-\d\d-\d\d[ T])?(\d\d):(\d\d):(\d\d)")
DAY = 24 * 3600


def run_duration(run: RunFolder) -> tuple[str, str] | None:
    """Return a label and the duration of a run in words; None if unknown.

    Args:
        run: The run's folder.

    Example::

        >>> from pathlib import Path
        >>> run_duration(RunFolder(Path("."), log=("23:59:30 begins", "00:01:00 ends")))
        ('Duration', '1 min 30 s')

    """
    known = run_seconds(run)
    return (known[0], _in_words(known[1])) if known else None


def run_seconds(run: RunFolder) -> tuple[str, float] | None:
    """Return a label and the duration of a run in seconds; None if unknown.

    The sum of the logged epoch times, else the time between the first and the last line of the log.

    Args:
        run: The run's folder.

    Example::

        >>> from pathlib import Path
        >>> run_seconds(RunFolder(Path("."), log=("23:59:30 begins", "00:01:00 ends")))
        ('Duration', 90.0)

    """
    seconds = run.metrics[run.metrics["key"].str.fullmatch(r"(.*/)?(epoch_)?seconds")]
    if len(seconds):
        first = seconds["key"].iloc[0]
        return "Time in epochs", float(seconds.loc[seconds["key"] == first, "value"].sum())
    clocks = [match for match in map(_CLOCK.match, run.log) if match]
    if len(clocks) < 2:
        return None
    times = [int(h) * 3600 + int(m) * 60 + int(s) for h, m, s in (match.groups() for match in clocks)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    total = sum(gap + DAY if gap < -DAY / 2 else gap for gap in gaps)  # the clock restarts at midnight
    return ("Duration" if run.parts < 2 else "Duration with pauses"), float(total)


def _in_words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
