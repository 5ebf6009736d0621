"""Where in a step that has just gone wrong the first number stands that is not finite."""

import math
from dataclasses import replace

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from vestim_pl.callbacks.crash_bundle.bundle_content import step_inputs
from vestim_pl.callbacks.crash_bundle.bundle_replay import load_state
from vestim_pl.callbacks.crash_bundle.step_window import StepWindow
from vestim_pl.errors import name_error
from vestim_pl.functional.tensor_range import measure_range
from vestim_pl.lightning_support.nested_tensors import copy_tensors
from vestim_pl.lightning_support.step_rerun import batch_name, rerun_step, silent_copy
from vestim_pl.lightning_support.step_trace import Finding, Frame, Phase, StepTrace
from vestim_pl.lightning_support.training_snapshot import trained_parameters

__all__ = ["find_in_step", "not_located", "rerun_aside"]


def find_in_step(trainer: Trainer, pl_module: LightningModule, window: StepWindow, ring: int) -> dict[Phase, Finding]:
    """What is seen in the step as it was, and what a copy of the module shows when it runs the step again.

    Gradients that are all finite, while their norm is not, are a finding too: the largest of them.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        window: The step; its state before the update is copied.
        ring: Number of ranges kept before a finding.

    """
    seen, trained = StepTrace(ring), trained_parameters(pl_module)
    before = {name: tensor for name, tensor in window.copy.parameters().items() if name in trained}
    seen.see_all(Phase.PARAMETER, before)
    for name, key, moment in window.copy.moments():
        seen.see(Phase.PARAMETER, name, moment, f"optimizer's {key}")
    for kind, name, tensor in window.carried():
        seen.see(Phase.PARAMETER, name, tensor, kind)
    for index, batch in zip(window.indices, window.batches, strict=True):
        seen.see_all(Phase.BATCH, batch, batch_name(index, window.indices))
    for index, loss in zip(window.indices, window.losses, strict=False):
        seen.see(Phase.LOSS, f"of batch {index}", loss)
    seen.see_all(Phase.GRADIENT, window.gradients)
    seen.see_all(Phase.UPDATE, trained)
    if not window.rerun:
        rerun_aside(trainer, pl_module, window, ring)
    findings = seen.findings | window.rerun["findings"]
    if set(findings) <= {Phase.UPDATE} and window.gradients and not math.isfinite(window.measure()[1].item()):
        findings[Phase.GRADIENT] = _largest_gradient(window)
    return findings


def not_located(window: StepWindow) -> str:
    """Why the step could not be run again as far as the fault, in one line; empty where it could."""
    if set(window.rerun["findings"]) - {Phase.PARAMETER, Phase.BATCH}:
        return ""
    return str(window.rerun["error"])


def rerun_aside(trainer: Trainer, pl_module: LightningModule, window: StepWindow, ring: int) -> None:
    """Run the step again with copies of module and batch; hooks that somebody registered are a part of the module.

    What it finds, or the error that kept it from running, is in ``window.rerun``.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        window: The step.
        ring: Number of ranges kept before a finding.

    """
    window.copy_state()
    trace, error = StepTrace(ring), ""
    try:
        _require_no_other_ranks(trainer, pl_module)
        with isolate_rng():
            aside = silent_copy(trainer, pl_module)
            load_state(aside, window.copy.parameters(), window.buffers, window.extras)
            inputs = step_inputs(trainer, window)
            # the backward pass of the run may still need the batch as it is
            rerun_step(aside, replace(inputs, batches=copy_tensors(inputs.batches)), trace, None)
    except Exception as failure:  # the training and the bundle matter more than the finding
        error = name_error(failure)
    window.rerun = {"findings": trace.findings, "error": error}


def _require_no_other_ranks(trainer: Trainer, pl_module: LightningModule) -> None:
    if trainer.world_size > 1 and any(isinstance(part, nn.SyncBatchNorm) for part in pl_module.modules()):
        raise RuntimeError("SyncBatchNorm waits for the other ranks, which do not run the step again")


def _largest_gradient(window: StepWindow) -> Finding:
    ranges = {name: measure_range(grad) for name, grad in window.gradients.items()}
    name = max(ranges, key=lambda name: ranges[name].largest)
    return Finding(Frame(Phase.GRADIENT, name, "", None, ranges[name]), [])
