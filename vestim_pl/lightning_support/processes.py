"""The processes of a training: how many there are, and exchange of data between them."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed
from lightning.pytorch import Trainer
from torch import Tensor

from vestim_pl.functional.finiteness import all_finite
from vestim_pl.lightning_support.training_batches import nonfinite_fields

__all__ = ["child_processes", "gather", "process_count", "ranks_at_fault"]


def process_count(devices: int | str | Sequence[int], accelerator: str = "auto", nodes: int = 1) -> int:
    """Compute the number of processes from the arguments of a trainer, without building the trainer.

    Args:
        devices: ``trainer.devices``: a number, -1 or ``auto`` for all, a list of indices, or either as text.
        accelerator: ``trainer.accelerator``.
        nodes: ``trainer.num_nodes``.

    Example::

        >>> process_count(1), process_count([0, 1]), process_count("0,1,2"), process_count(2, "cpu", nodes=3)
        (1, 2, 3, 6)
        >>> process_count("auto", "cpu")
        1

    """
    if isinstance(devices, str) and "," in devices:
        devices = [int(index) for index in devices.split(",") if index.strip()]
    if not isinstance(devices, int | str):
        return max(1, len(devices)) * nodes
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if str(devices) in ("auto", "-1"):
        return (torch.cuda.device_count() if on_gpu else 1) * nodes
    return max(1, int(devices)) * nodes


def child_processes(trainer: Trainer) -> list[Any]:
    """List the processes that the trainer's launcher has started on this machine.

    Lightning keeps them in an attribute of its launchers and has no public access to them. Tested with lightning 2.6.6.
    """
    return list(getattr(trainer.strategy.launcher, "procs", []))


def gather(trainer: Trainer, value: Any) -> list[Any]:
    """Collect the plain data that each rank gives, in order; call it on all ranks."""
    if trainer.world_size == 1 or not torch.distributed.is_initialized():
        return [value]
    values = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def ranks_at_fault(trainer: Trainer, losses: Sequence[Tensor], batches: Sequence[Any]) -> list[int]:
    """Find the ranks with non-finite losses, or else those with non-finite batches; call it on all ranks.

    Gradients are averaged, so they do not show which rank a NaN came from.
    """
    own = not all_finite(losses), any(nonfinite_fields(batch) for batch in batches)
    found = gather(trainer, own)
    by_loss, by_batch = ([rank for rank, bad in enumerate(found) if bad[part]] for part in (0, 1))
    return by_loss or by_batch
