"""Parse how often to write a checkpoint: a number with a unit."""

import re
from dataclasses import dataclass

from vestim_pl.errors import ConfigurationError

__all__ = ["CheckpointInterval", "parse_interval"]

_SECONDS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
_STEPS = ("step",)


@dataclass(frozen=True)
class CheckpointInterval:
    """Time or optimizer steps between two checkpoints; with neither, only epoch ends have one.

    Attributes:
        seconds: Seconds, or None.
        steps: Optimizer steps, or None.

    """

    seconds: float | None = None
    steps: int | None = None

    def passed(self, seconds: float, steps: int) -> bool:
        return (self.seconds is not None and seconds >= self.seconds) or (
            self.steps is not None and steps >= self.steps
        )


def parse_interval(text: str | None, setting: str = "every") -> CheckpointInterval:
    """Parse an interval such as ``10 min``, ``2 h``, ``30 s`` or ``500 steps``; None is no interval.

    Raises:
        ConfigurationError: If the interval is not positive or has no known unit; the message names ``setting``.

    Example::

        >>> parse_interval("10 min"), parse_interval("500 steps")
        (CheckpointInterval(seconds=600.0, steps=None), CheckpointInterval(seconds=None, steps=500))

    """
    if text is None:
        return CheckpointInterval()
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*", str(text).lower())
    number, unit = (float(match[1]), match[2] or "s") if match else (0.0, "")
    if number > 0 and unit in _SECONDS:
        return CheckpointInterval(seconds=number * _SECONDS[unit])
    if number >= 1 and number.is_integer() and unit in _STEPS:
        return CheckpointInterval(steps=int(number))
    raise ConfigurationError(
        f"{setting}: {text!r} is not an interval; write a number with a unit, such as '10 min', '2 h' or '500 steps',"
        " or null to write checkpoints at epoch ends only"
    )
