"""Exchange of data between the ranks of a training, and logging of values that all ranks share."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.distributed
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vestim_pl.functional.finiteness import all_finite
from vestim_pl.lightning_support.batch_location import nonfinite_fields

__all__ = ["gather", "log_agreed", "ranks_at_fault"]


def gather(trainer: Trainer, value: Any) -> list[Any]:
    """Collect the values of all ranks, in order; call it on all ranks.

    Args:
        trainer: The trainer.
        value: Plain data.

    """
    if trainer.world_size == 1 or not torch.distributed.is_initialized():
        return [value]
    values = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def log_agreed(pl_module: LightningModule, values: Mapping[str, Tensor | float], *, prog_bar: bool = False) -> None:
    """Log numbers of an epoch that are already equal on all ranks.

    Lightning treats a logged value as that of one rank and reduces it. The maximum of equal numbers is that number bit
    for bit, which a mean over three ranks need not be. Log each name once an epoch, on all ranks.

    Args:
        pl_module: The module.
        values: Numbers by logged key, equal on all ranks.
        prog_bar: Show them in the progress bar.

    """
    for name, value in values.items():
        pl_module.log(name, value, prog_bar=prog_bar, sync_dist=True, reduce_fx="max", batch_size=1)


def ranks_at_fault(trainer: Trainer, losses: Sequence[Tensor], batches: Sequence[Any]) -> list[int]:
    """Find the ranks with non-finite losses, or else those with non-finite batches; call it on all ranks.

    Gradients are averaged, so they do not show which rank a NaN came from.

    Args:
        trainer: The trainer.
        losses: Losses of the step on this rank.
        batches: Batches of the step on this rank.

    """
    own = not all_finite(losses), any(nonfinite_fields(batch) for batch in batches)
    found = gather(trainer, own)
    by_loss, by_batch = ([rank for rank, bad in enumerate(found) if bad[part]] for part in (0, 1))
    return by_loss or by_batch
