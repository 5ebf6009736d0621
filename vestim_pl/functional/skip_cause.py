"""Why a step had to be skipped: the first cause, from the parameters and the batch onwards."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vestim_pl.functional.batch_location import locate_batch, nonfinite_fields
from vestim_pl.functional.step_finiteness import nonfinite_names

__all__ = ["find_skip_cause"]

Cause = tuple[str, str, list[dict[str, Any]]]


def find_skip_cause(
    trainer: Trainer,
    module: LightningModule,
    reason: str,
    losses: Sequence[tuple[int, Tensor]],
    batches: Sequence[tuple[int, Any]],
) -> Cause:
    """Name the first cause of a step that is about to be skipped; only the bad path pays for it, on all ranks alike.

    Whether parameters are to blame is agreed between the ranks, since it asks for a recovery, and that is for all of
    them. What else it was may differ from rank to rank: it is only told.

    Args:
        trainer: The trainer.
        module: The module in training, with the gradients of the step.
        reason: What the step was skipped for.
        losses: Losses of the window, each with the number of its batch.
        batches: Batches of the window, likewise.

    Returns:
        Cause (``parameter``, ``batch``, ``loss`` or ``gradient``), one sentence, and the recordings concerned.

    """
    names = nonfinite_names(module.named_parameters())
    if trainer.strategy.reduce_boolean_decision(bool(names), all=False):
        where = f"parameters {', '.join(names)}" if names else "parameters of another rank"
        return "parameter", f"{reason}: {where} are not finite", []
    bad_losses = [index for index, loss in losses if not bool(torch.isfinite(loss).all())]
    suspects = [(index, batch) for index, batch in batches if index in bad_losses] or batches
    fields, places = _suspected(trainer, suspects)
    if fields:
        return "batch", f"{reason}: non-finite values in {', '.join(fields)}", places
    if bad_losses:
        return "loss", f"{reason} although batch and parameters are finite", places
    names = nonfinite_names((name, parameter.grad) for name, parameter in module.named_parameters())
    if names:
        return "gradient", f"{reason}: first in the gradient of {', '.join(names)}", places
    return "gradient", f"{reason}, on another rank or by the sum of finite gradients", places


def _suspected(trainer: Trainer, suspects: Sequence[tuple[int, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Non-finite fields of the batches, and the recordings of their rows."""
    fields: list[str] = []
    places: list[dict[str, Any]] = []
    for index, batch in suspects:
        found = nonfinite_fields(batch)
        fields += [f"{name} of batch {index}" for name in found]
        places += locate_batch(trainer, batch, sorted({row for rows in found.values() for row in rows}))
    return fields, places
