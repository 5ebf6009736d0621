"""Why a step had to be skipped: the first cause, from the parameters and the batch onwards."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vestim_pl.lightning_support.batch_location import locate_batch, nonfinite_fields
from vestim_pl.lightning_support.rank_agreement import gather
from vestim_pl.lightning_support.step_finiteness import nonfinite_names

__all__ = ["find_skip_cause"]

Cause = tuple[str, str, list[dict[str, Any]]]
_ORDER = ("parameter", "batch", "loss", "gradient")  # from the cause that explains most to the one that explains least


def find_skip_cause(
    trainer: Trainer,
    module: LightningModule,
    reason: str,
    losses: Sequence[tuple[int, Tensor]],
    batches: Sequence[tuple[int, Any]],
) -> Cause:
    """Name the first cause of a step that is about to be skipped; only the bad path pays for it, on all ranks alike.

    With several processes the cause is that of the first rank at fault, and so are the recordings: a NaN in the batch
    of one rank is in the averaged gradient of all, and only that rank can name the rows. All ranks have to call.

    Args:
        trainer: The trainer.
        module: The module in training, with the gradients of the step.
        reason: What the step was skipped for.
        losses: Losses of the window, each with the number of its batch.
        batches: Batches of the window, likewise.

    Returns:
        Cause (``parameter``, ``batch``, ``loss`` or ``gradient``), one sentence, and the recordings concerned.

    """
    found = gather(trainer, _own_cause(trainer, module, reason, losses, batches))
    rank = min(range(len(found)), key=lambda each: _ORDER.index(found[each][0]))
    cause, detail, places = found[rank]
    # a cause that all ranks share, such as a loss that grew too large, needs no number
    alone = [each[0] for each in found].count(cause) < len(found)
    return cause, f"{detail} (rank {rank})" if alone else detail, places


def _own_cause(
    trainer: Trainer,
    module: LightningModule,
    reason: str,
    losses: Sequence[tuple[int, Tensor]],
    batches: Sequence[tuple[int, Any]],
) -> Cause:
    """The cause as this rank sees it."""
    names = nonfinite_names(module.named_parameters())
    if names:
        return "parameter", f"{reason}: parameters {', '.join(names)} are not finite", []
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
    return "gradient", f"{reason} by the sum of finite gradients", places


def _suspected(trainer: Trainer, suspects: Sequence[tuple[int, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Non-finite fields of the batches, and the recordings of their rows."""
    fields: list[str] = []
    places: list[dict[str, Any]] = []
    for index, batch in suspects:
        found = nonfinite_fields(batch)
        fields += [f"{name} of batch {index}" for name in found]
        places += locate_batch(trainer, batch, sorted({row for rows in found.values() for row in rows}))
    return fields, places
