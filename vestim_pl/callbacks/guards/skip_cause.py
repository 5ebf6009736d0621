"""The first cause of a skipped step, searched from the parameters and the batch onwards."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vestim_pl.functional.finiteness import find_nonfinite
from vestim_pl.lightning_support.processes import gather
from vestim_pl.lightning_support.tensors import named_tensors
from vestim_pl.lightning_support.training_batches import locate_batch, nonfinite_fields

__all__ = ["find_skip_cause"]

Cause = tuple[str, str, list[dict[str, Any]]]
_ORDER = ("parameter", "batch", "loss", "gradient")  # an earlier cause explains the later ones


def find_skip_cause(
    trainer: Trainer,
    module: LightningModule,
    reason: str,
    losses: Sequence[tuple[int, Tensor]],
    batches: Sequence[tuple[int, Any]],
) -> Cause:
    """Find the first cause of a step that is about to be skipped; call it on all ranks.

    With several processes, cause and recordings are those of the first rank at fault. A NaN in the batch of one rank is
    in the averaged gradient of all, but only that rank can name the rows.

    Args:
        trainer: The trainer.
        module: The module in training, with the gradients of the step.
        reason: Why the step is skipped.
        losses: Losses of the window, each with the index of its batch.
        batches: Batches of the window, each with its index.

    Returns:
        Cause (``parameter``, ``batch``, ``loss`` or ``gradient``), one sentence, and the recordings of the bad rows.

    """
    found = gather(trainer, _own_cause(trainer, module, reason, losses, batches))
    rank = min(range(len(found)), key=lambda each: _ORDER.index(found[each][0]))
    cause, detail, places = found[rank]
    # A cause that all ranks share, such as a loss that grew too large, is reported without a rank.
    alone = [each[0] for each in found].count(cause) < len(found)
    return cause, f"{detail} (rank {rank})" if alone else detail, places


def _own_cause(
    trainer: Trainer,
    module: LightningModule,
    reason: str,
    losses: Sequence[tuple[int, Tensor]],
    batches: Sequence[tuple[int, Any]],
) -> Cause:
    names = _names(module.named_parameters())
    if names:
        return "parameter", f"{reason}: parameters {', '.join(names)} are not finite", []
    bad_losses = [index for index, loss in losses if not bool(torch.isfinite(loss).all())]
    suspects = [(index, batch) for index, batch in batches if index in bad_losses] or batches
    fields, places = _suspected(trainer, suspects)
    if fields:
        return "batch", f"{reason}: non-finite values in {', '.join(fields)}", places
    if bad_losses:
        checked = all(named_tensors(batch, attributes=True) for _, batch in suspects)
        finite = "batch and parameters are finite" if checked else "parameters are finite; no tensor found in the batch"
        return "loss", f"{reason} although {finite}", places
    names = _names((name, parameter.grad) for name, parameter in module.named_parameters())
    if names:
        return "gradient", f"{reason}: first in the gradient of {', '.join(names)}", places
    return "gradient", f"{reason} by the sum of finite gradients", places


def _names(named: Iterable[tuple[str, Tensor | None]]) -> list[str]:
    return [tensor.name for tensor in find_nonfinite(named, limit=3)]


def _suspected(trainer: Trainer, suspects: Sequence[tuple[int, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Name the non-finite fields of the batches and the recordings of their rows."""
    fields: list[str] = []
    places: list[dict[str, Any]] = []
    for index, batch in suspects:
        found = nonfinite_fields(batch)
        fields += [f"{name} of batch {index}" for name in found]
        places += locate_batch(trainer, batch, sorted({row for rows in found.values() for row in rows}))
    return fields, places
