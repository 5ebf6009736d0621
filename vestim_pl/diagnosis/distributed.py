"""Several processes a job inside a multirun."""

from collections.abc import Sequence

from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_distributed"]

CHECK = "devices"


def check_distributed(devices: int | str | Sequence[int], strategy: str, multirun: bool) -> Finding:
    """Refuse distributed training under ``-m``: every further process would start the whole sweep anew.

    Lightning starts the other ranks with the command line of the first; with ``-m`` in it that is another sweep.

    Args:
        devices: ``trainer.devices``.
        strategy: ``trainer.strategy``.
        multirun: Whether the command runs with ``-m``.

    Example::

        >>> check_distributed(2, "auto", multirun=True).severity.value
        'error'
        >>> check_distributed(1, "auto", multirun=True).severity.value
        'ok'

    """
    count = devices if isinstance(devices, int) else len(devices) if not isinstance(devices, str) else 0
    several = count > 1 or count == -1 or (isinstance(devices, str) and devices not in ("1", "auto"))
    distributed = several or any(name in strategy for name in ("ddp", "fsdp", "deepspeed"))
    said = f"trainer.devices is {devices}, strategy {strategy}"
    if not distributed:
        return Finding(CHECK, Severity.OK, f"{said}: one process")
    if multirun:
        evidence = f"{said}: each further process of a job would start the whole sweep again"
        return Finding(CHECK, Severity.ERROR, evidence, "trainer.devices=1")
    return Finding(CHECK, Severity.NOTE, f"{said}: works for a single run, not for a sweep with -m")
