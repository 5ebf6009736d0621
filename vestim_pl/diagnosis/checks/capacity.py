"""Check the number of parameters per step of the lookback."""

import math
from collections.abc import Sequence

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["check_capacity"]

CHECK = "capacity"
STARVED = 2.0
TIGHT = 5.0


def check_capacity(parameters: int, lookback: int, hidden_sizes: Sequence[int], recurrent: bool = True) -> Finding:
    """Compare the size of the network with the number of steps it must summarise.

    VEstim's guide compares the two: 10 hidden units for a lookback of 400 make about 1.5 parameters a step, and the
    guide triples the hidden sizes. This is a rule of thumb: below 2 a step it is a warning, below 5 a note.

    Args:
        parameters: Trainable parameters.
        lookback: ``sampling.lookback``.
        hidden_sizes: ``network.hidden_sizes``.
        recurrent: Whether a recurrent state of fixed size summarises the past; the rule holds for those only.

    Example::

        >>> check_capacity(571, 400, [10]).evidence
        '571 parameters for a lookback of 400: 1.4 a step, with 10 hidden units'

    """
    if not recurrent:
        evidence = f"{parameters:,} parameters; no recurrent state summarises the lookback, so the rule does not apply"
        return Finding(CHECK, Severity.OK, evidence)
    ratio = parameters / lookback
    units = " and ".join(map(str, hidden_sizes))
    evidence = f"{parameters:,} parameters for a lookback of {lookback}: {ratio:,.1f} a step, with {units} hidden units"
    if ratio >= TIGHT:
        return Finding(CHECK, Severity.OK, evidence)
    factor = max(3, math.ceil(math.sqrt(TIGHT / ratio)))  # weights grow with the square
    severity = Severity.WARNING if ratio < STARVED else Severity.NOTE
    return Finding(
        CHECK, severity, evidence, (Override("network.hidden_sizes", [factor * size for size in hidden_sizes]),)
    )
