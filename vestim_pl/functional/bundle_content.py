"""What goes into a crash bundle."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer

from vestim_pl.functional.batch_location import locate_batch, nonfinite_fields
from vestim_pl.functional.bundle_file import package_versions
from vestim_pl.functional.plain_data import class_path, to_plain
from vestim_pl.functional.step_rerun import StepInputs
from vestim_pl.functional.step_window import StepWindow

__all__ = ["bundle_content", "bundle_summary", "loss_scale", "recordings_of", "step_inputs"]


def step_inputs(trainer: Trainer, window: StepWindow) -> StepInputs:
    """What the step was computed from, besides weights and moments."""
    algorithm = trainer.gradient_clip_algorithm
    return StepInputs(
        batches=window.batches,
        indices=window.indices,
        random=window.random_states(),
        precision=str(trainer.precision),
        loss_scale=window.loss_scale,
        clip_value=trainer.gradient_clip_val,
        clip_by_value=algorithm is not None and algorithm.value == "value",
    )


def bundle_content(trainer: Trainer, pl_module: LightningModule, window: StepWindow) -> dict[str, Any]:
    """Tensors and plain data of everything that :func:`~vestim_pl.functional.bundle_replay.replay_bundle` needs."""
    inputs = step_inputs(trainer, window)
    return {
        "module": {"class": class_path(type(pl_module)), "hparams": to_plain(dict(pl_module.hparams))},
        "parameters": window.copy.parameters(),
        "buffers": window.buffers,
        "extras": to_plain(window.extras),
        "optimizer": window.copy.optimizer_state(),
        "batches": [to_plain(batch) for batch in inputs.batches],
        "indices": list(inputs.indices),
        "random": list(inputs.random),
        "precision": inputs.precision,
        "loss_scale": inputs.loss_scale,
        "clip_value": inputs.clip_value,
        "clip_by_value": inputs.clip_by_value,
    }


def bundle_summary(trainer: Trainer, pl_module: LightningModule, window: StepWindow) -> dict[str, Any]:
    """What a person wants to know of the run; :func:`~vestim_pl.functional.bundle_file.write_bundle` makes it plain."""
    datamodule = getattr(trainer, "datamodule", None)
    return {
        "epoch": trainer.current_epoch,
        "step": trainer.global_step,
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
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None:
        return None
    return float(scaler.get_scale() / (scaler.get_backoff_factor() if lowered else 1.0))
