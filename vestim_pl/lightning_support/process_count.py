"""The number of processes of a training."""

from collections.abc import Sequence

import torch

__all__ = ["process_count"]


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
