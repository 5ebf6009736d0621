"""What a traced step says, as sentences for a person."""

from collections.abc import Mapping

from vestim_pl.lightning_support.step_trace import Finding, Phase

__all__ = ["first_finding", "tell_finding", "tell_history", "tell_step"]


def first_finding(findings: Mapping[Phase, Finding]) -> Finding | None:
    """The finding of the earliest phase; None where all was finite."""
    return next((findings[phase] for phase in Phase if phase in findings), None)


def tell_finding(finding: Finding) -> str:
    """Where the number that is not finite stands, as a clause.

    Example::

        >>> from vestim_pl.lightning_support.step_trace import Frame
        >>> from vestim_pl.functional.tensor_range import TensorRange
        >>> bad = TensorRange(0.1, 2.0, 1, (3, 17, 0), "nan")
        >>> tell_finding(Finding(Frame(Phase.BATCH, "inputs", "", None, bad), []))
        'field inputs of the batch holds nan at [3, 17, 0]'

    """
    frame = finding.frame
    where = f"{frame.range.value} at {list(frame.range.index)}" if frame.range.index else frame.range.value
    time = "" if frame.time is None else f", time step {frame.time}"
    own = f"{frame.tensor} of {frame.name}" if frame.tensor else f"parameter {frame.name}"
    own = f"{frame.tensor} {frame.name}" if frame.tensor in ("buffer", "carried state") else own
    if frame.phase is Phase.GRADIENT and not frame.range.non_finite:
        return (
            f"the gradient of parameter {frame.name} is the largest with {frame.range.largest:.3g}; each is finite, but"
            " the norm of all overflows float32"
        )
    return {
        Phase.PARAMETER: f"{own} is {where} already before the step",
        Phase.BATCH: f"field {frame.name} of the batch holds {where}",
        Phase.FORWARD: f"module {frame.name}{time}: {frame.tensor} is {where}",
        Phase.LOSS: f"the loss {frame.name} is {where}",
        Phase.BACKWARD: f"module {frame.name}{time}: {frame.tensor} is {where}",
        Phase.GRADIENT: f"the gradient of parameter {frame.name} is {where}",
        Phase.UPDATE: f"{own} is {where} after the update",
    }[frame.phase]


def tell_step(findings: Mapping[Phase, Finding], not_located: str = "") -> str:
    """First cause, and where it strikes first within the network, as a sentence without a full stop.

    Args:
        findings: What is not finite, by phase.
        not_located: Why nobody looked into the step, empty where somebody did; then nothing is said of what is there.

    Example::

        >>> tell_step({}), tell_step({}, "TypeError: cannot pickle a lock")
        ('no tensor of the step holds a NaN or an infinity', 'not located: TypeError: cannot pickle a lock')

    """
    origin = first_finding(findings)
    if origin is None:
        return f"not located: {not_located}" if not_located else "no tensor of the step holds a NaN or an infinity"
    text = tell_finding(origin)
    if not_located:
        return f"{text}; not located within the step: {not_located}"
    if origin.frame.phase in (Phase.PARAMETER, Phase.BATCH):
        struck = next((findings[phase] for phase in (Phase.FORWARD, Phase.LOSS) if phase in findings), None)
        text += "" if struck is None else f"; it strikes first in {tell_finding(struck)}"
    else:
        struck = origin
        text += "; everything before it is finite"
    recurrent = findings.get(Phase.RECURRENT)
    if recurrent is None or struck is None or recurrent.frame == struck.frame:
        return text
    return f"{text}; among the recurrent layers in {tell_finding(recurrent)}"


def tell_history(finding: Finding) -> str:
    """The ranges that led up to a finding, one line each, oldest first, as a table."""
    lines = [*map(str, finding.history), f"{finding.frame}   <-- first"]
    return "\n".join(f"  {line}" for line in lines)
