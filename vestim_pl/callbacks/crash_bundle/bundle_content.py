"""What goes into a crash bundle."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer

from vestim_pl.callbacks.crash_bundle.bundle_file import package_versions
from vestim_pl.callbacks.crash_bundle.class_import import class_path
from vestim_pl.callbacks.crash_bundle.module_rebuild import describe_module
from vestim_pl.callbacks.crash_bundle.plain_data import to_plain
from vestim_pl.callbacks.crash_bundle.step_window import StepWindow
from vestim_pl.lightning_support.batch_location import locate_batch, nonfinite_fields
from vestim_pl.lightning_support.gradient_access import gradient_scaler
from vestim_pl.lightning_support.step_rerun import StepInputs

__all__ = ["bundle_content", "bundle_summary", "loss_scale", "recordings_of", "step_before", "step_inputs"]


def step_inputs(trainer: Trainer, window: StepWindow) -> StepInputs:
    """What the step was computed from, besides weights and moments."""
    return StepInputs(
        batches=window.batches,
        indices=window.indices,
        random=window.random_states(),
        precision=str(trainer.precision),
        loss_scale=window.loss_scale,
        divisor=trainer.accumulate_grad_batches,
    )


def bundle_content(trainer: Trainer, pl_module: LightningModule, window: StepWindow) -> dict[str, Any]:
    """Tensors and plain data of everything that `replay_bundle` needs."""
    inputs = step_inputs(trainer, window)
    return {
        "module": describe_module(pl_module),
        "trainer": {
            "epoch": trainer.current_epoch,
            "step": step_before(trainer, window),
            "batches": trainer.num_training_batches,
            "max_epochs": trainer.max_epochs,
            "max_steps": trainer.max_steps,
            "accumulate_grad_batches": trainer.accumulate_grad_batches,
        },
        "parameters": window.copy.parameters(),
        "buffers": window.buffers,
        "extras": to_plain(window.extras),
        "optimizer": window.copy.optimizer_state(),
        "batches": [to_plain(batch) for batch in inputs.batches],
        "indices": list(inputs.indices),
        "random": list(inputs.random),
        "precision": inputs.precision,
        "loss_scale": inputs.loss_scale,
        "applied": _applied_gradients(trainer, pl_module, window),
    }


def step_before(trainer: Trainer, window: StepWindow) -> int:
    """``global_step`` as it was when the step of the window was computed."""
    return trainer.global_step - _is_updated(trainer, window)


def _is_updated(trainer: Trainer, window: StepWindow) -> bool:
    steps = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    return window.updating and steps.ready == steps.completed


def _applied_gradients(trainer: Trainer, module: LightningModule, window: StepWindow) -> dict[str, Any] | None:
    """Gradients that the optimizer took, after clipping and callbacks; None before it did."""
    if not _is_updated(trainer, window):
        return None
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def bundle_summary(trainer: Trainer, pl_module: LightningModule, window: StepWindow) -> dict[str, Any]:
    """What a person wants to know of the run; `write_bundle` makes it plain."""
    datamodule = getattr(trainer, "datamodule", None)
    return {
        "epoch": trainer.current_epoch,
        "step": step_before(trainer, window),
        "batches": list(window.indices),
        "precision": str(trainer.precision),
        "module": class_path(type(pl_module)),
        "hparams": dict(pl_module.hparams),
        "data": None if datamodule is None else dict(datamodule.hparams),
        "learning_rates": [group["lr"] for group in trainer.optimizers[0].param_groups],
        "versions": package_versions(),
    }


def recordings_of(trainer: Trainer, window: StepWindow) -> list[dict[str, Any]]:
    """Recordings and times of the batches, of their bad rows where there are any."""
    found: list[dict[str, Any]] = []
    for batch in window.batches:
        rows = sorted({row for rows in nonfinite_fields(batch).values() for row in rows})
        found += locate_batch(trainer, batch, rows)
    return found


def loss_scale(trainer: Trainer, lowered: bool = False) -> float | None:
    """Factor of the gradient scaler, None without one; reads the device.

    Args:
        trainer: The trainer.
        lowered: The scaler has answered an overflow of this step already; the factor before is wanted.

    """
    scaler = gradient_scaler(trainer)
    if scaler is None:
        return None
    return float(scaler.get_scale() / (scaler.get_backoff_factor() if lowered else 1.0))
