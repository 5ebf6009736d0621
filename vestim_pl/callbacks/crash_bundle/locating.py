"""Where the first non-finite value of a bad step is, and the sentences that say so."""

import math
from dataclasses import replace

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from vestim_pl.callbacks.crash_bundle.recording import StepWindow
from vestim_pl.errors import name_error
from vestim_pl.functional.tensor_range import measure_range
from vestim_pl.lightning_support.module_state import copy_tensors
from vestim_pl.lightning_support.step_rerun import batch_name, load_state, rerun_step, silent_copy
from vestim_pl.lightning_support.step_trace import Finding, Frame, Phase, StepTrace
from vestim_pl.lightning_support.training_snapshot import trained_parameters

__all__ = ["describe_finding", "describe_history", "describe_step", "find_in_step", "not_located", "rerun_on_copy"]


def find_in_step(trainer: Trainer, pl_module: LightningModule, window: StepWindow, ring: int) -> StepTrace:
    """Collect the findings in the recorded step, and those of a second run on a copy of the module.

    The second run decides where both have a finding of the same phase. If every gradient is finite but their norm is
    not, the largest gradient is a finding too.
    """
    trace, trained = StepTrace(ring), trained_parameters(pl_module)
    before = {name: tensor for name, tensor in window.copy.parameters().items() if name in trained}
    trace.see_all(Phase.PARAMETER, before)
    for name, key, moment in window.copy.moments():
        trace.see(Phase.PARAMETER, name, moment, f"optimizer's {key}")
    for kind, name, tensor in window.carried():
        trace.see(Phase.PARAMETER, name, tensor, kind)
    for index, batch in zip(window.indices, window.batches, strict=True):
        trace.see_all(Phase.BATCH, batch, batch_name(index, window.indices))
    for index, loss in zip(window.indices, window.losses, strict=False):
        trace.see(Phase.LOSS, f"of batch {index}", loss)
    trace.see_all(Phase.GRADIENT, window.gradients)
    trace.see_all(Phase.UPDATE, trained)
    if not window.rerun:
        rerun_on_copy(trainer, pl_module, window, ring)
    trace.findings |= window.rerun["findings"]
    if set(trace.findings) <= {Phase.UPDATE} and window.gradients and not math.isfinite(window.measure()[1].item()):
        trace.findings[Phase.GRADIENT] = _largest_gradient(window)
    return trace


def not_located(window: StepWindow) -> str:
    """Why the second run of the step did not reach the fault, in one line; empty if it did."""
    if set(window.rerun["findings"]) - {Phase.PARAMETER, Phase.BATCH}:
        return ""
    return str(window.rerun["error"])


def rerun_on_copy(trainer: Trainer, pl_module: LightningModule, window: StepWindow, ring: int) -> None:
    """Run the step again with copies of module and batch, including any hooks registered on the module.

    Stores the findings, and the error if the step could not run, in ``window.rerun``.
    """
    window.copy_state()
    trace, error = StepTrace(ring), ""
    try:
        _require_no_other_ranks(trainer, pl_module)
        with isolate_rng():
            module = silent_copy(trainer, pl_module)
            load_state(module, window.copy.parameters(), window.buffers, window.extras)
            inputs = window.inputs(trainer)
            # copied, because the backward pass of the run may still need the batch unchanged
            rerun_step(module, replace(inputs, batches=copy_tensors(inputs.batches)), trace, None)
    except Exception as failure:  # the training and the bundle matter more than the finding
        error = name_error(failure)
    window.rerun = {"findings": trace.findings, "error": error}


def describe_finding(finding: Finding) -> str:
    """Where a non-finite value is, as a clause.

    Example::

        >>> from vestim_pl.functional.tensor_range import TensorRange
        >>> bad = TensorRange(0.1, 2.0, 1, (3, 17, 0), "nan")
        >>> describe_finding(Finding(Frame(Phase.BATCH, "inputs", "", None, bad), []))
        'field inputs of the batch holds nan at [3, 17, 0]'

    """
    frame = finding.frame
    if frame.phase is Phase.GRADIENT and not frame.range.non_finite:
        return (
            f"parameter {frame.name} has the largest gradient, {frame.range.largest:.3g}; every gradient is finite, but"
            " their norm overflows float32"
        )
    where = f"{frame.range.value} at {list(frame.range.index)}" if frame.range.index else frame.range.value
    time = "" if frame.time is None else f", time step {frame.time}"
    owner = f"{frame.tensor} of {frame.name}" if frame.tensor else f"parameter {frame.name}"
    owner = f"{frame.tensor} {frame.name}" if frame.tensor in ("buffer", "carried state") else owner
    return {
        Phase.PARAMETER: f"{owner} is already {where} before the step",
        Phase.BATCH: f"field {frame.name} of the batch holds {where}",
        Phase.FORWARD: f"module {frame.name}{time}: {frame.tensor} is {where}",
        Phase.LOSS: f"the loss {frame.name} is {where}",
        Phase.BACKWARD: f"module {frame.name}{time}: {frame.tensor} is {where}",
        Phase.GRADIENT: f"the gradient of parameter {frame.name} is {where}",
        Phase.UPDATE: f"{owner} is {where} after the update",
    }[frame.phase]


def describe_step(trace: StepTrace, not_located: str = "") -> str:
    """The first cause and its first effect in the network, as a sentence without a full stop.

    ``not_located`` says why the step could not run again; then nothing is said about its inside.

    Example::

        >>> describe_step(StepTrace())
        'no tensor of the step holds a NaN or an infinity'
        >>> describe_step(StepTrace(), "TypeError: cannot pickle a lock")
        'not located: TypeError: cannot pickle a lock'

    """
    findings, cause = trace.findings, trace.origin
    if cause is None:
        return f"not located: {not_located}" if not_located else "no tensor of the step holds a NaN or an infinity"
    text, effect = describe_finding(cause), None
    if not_located:
        return f"{text}; not located within the step: {not_located}"
    if cause.frame.phase in (Phase.PARAMETER, Phase.BATCH):
        effect = findings.get(Phase.FORWARD) or findings.get(Phase.LOSS)
        text += f"; first effect: {describe_finding(effect)}" if effect else ""
    else:
        effect = cause
        text += "; everything before it is finite"
    recurrent = findings.get(Phase.RECURRENT)
    if recurrent is None or effect is None or recurrent.frame == effect.frame:
        return text
    return f"{text}; first recurrent layer affected: {describe_finding(recurrent)}"


def describe_history(finding: Finding) -> str:
    """The ranges up to a finding as a table, one line each, oldest first."""
    lines = [*map(str, finding.history), f"{finding.frame}   <-- first"]
    return "\n".join(f"  {line}" for line in lines)


def _require_no_other_ranks(trainer: Trainer, pl_module: LightningModule) -> None:
    if trainer.world_size > 1 and any(isinstance(part, nn.SyncBatchNorm) for part in pl_module.modules()):
        raise RuntimeError("SyncBatchNorm waits for the other ranks, which do not run the step again")


def _largest_gradient(window: StepWindow) -> Finding:
    ranges = {name: measure_range(grad) for name, grad in window.gradients.items()}
    name = max(ranges, key=lambda name: ranges[name].largest)
    return Finding(Frame(Phase.GRADIENT, name, "", None, ranges[name]), [])
