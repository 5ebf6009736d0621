"""Where in a step that has just gone wrong the first number stands that is not finite."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from vestim_pl.functional.bundle_content import step_inputs
from vestim_pl.functional.bundle_replay import load_state
from vestim_pl.functional.step_rerun import batch_name, copy_aside, rerun_step
from vestim_pl.functional.step_trace import Finding, Phase, StepTrace
from vestim_pl.functional.step_window import StepWindow
from vestim_pl.functional.training_snapshot import trained_parameters

__all__ = ["find_in_step", "rerun_aside"]


def find_in_step(trainer: Trainer, pl_module: LightningModule, window: StepWindow, ring: int) -> dict[Phase, Finding]:
    """What is seen in the step as it was, and what a copy of the module shows when it runs the step again.

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
    for index, batch in zip(window.indices, window.batches, strict=True):
        seen.see_all(Phase.BATCH, batch, batch_name(index, window.indices))
    for index, loss in zip(window.indices, window.losses, strict=False):
        seen.see(Phase.LOSS, f"of batch {index}", loss)
    seen.see_all(Phase.GRADIENT, window.gradients)
    seen.see_all(Phase.UPDATE, trained)
    if not window.rerun:
        rerun_aside(trainer, pl_module, window, ring)
    return seen.findings | window.rerun.get("findings", {})


def rerun_aside(trainer: Trainer, pl_module: LightningModule, window: StepWindow, ring: int) -> None:
    """Run the step again with a copy of the module, of which hooks that somebody registered are a part.

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
        with isolate_rng():
            aside = copy_aside(trainer, pl_module)
            load_state(aside, window.copy.parameters(), window.buffers, window.extras)
            rerun_step(aside, step_inputs(trainer, window), trace, None)
    except Exception as failure:  # the bundle matters more than the finding
        error = f"{type(failure).__name__}: {failure}"
    window.rerun = {"findings": trace.findings, "error": error}
