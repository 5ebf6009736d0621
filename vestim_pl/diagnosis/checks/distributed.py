"""Check for jobs of several processes inside a multirun."""

from collections.abc import Sequence

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.lightning_support.processes import process_count
from vestim_pl.settings.override import Override

__all__ = ["check_distributed"]

CHECK = "devices"


def check_distributed(
    devices: int | str | Sequence[int], strategy: str, multirun: bool, accelerator: str = "auto", nodes: int = 1
) -> Finding:
    """Report distributed training under ``-m``: each further process would start the whole sweep again.

    Lightning starts the other ranks with the command line of the first, and its ``-m`` starts another sweep. The train
    command refuses such a sweep.

    Args:
        devices: ``trainer.devices``.
        strategy: ``trainer.strategy``.
        multirun: Whether the command runs with ``-m``.
        accelerator: ``trainer.accelerator``.
        nodes: ``trainer.num_nodes``.

    Example::

        >>> check_distributed(2, "auto", multirun=True).severity.value
        'error'
        >>> check_distributed(1, "auto", multirun=True).severity.value
        'ok'

    """
    count = process_count(devices, accelerator, nodes)
    setting = f"trainer.devices is {devices}, strategy {strategy}: {count} process{'es' if count > 1 else ''}"
    if count == 1:
        return Finding(CHECK, Severity.OK, setting)
    if multirun:
        evidence = f"{setting}, and each further process of a job would start the whole sweep again"
        return Finding(CHECK, Severity.ERROR, evidence, (Override("trainer.devices", 1),))
    return Finding(CHECK, Severity.NOTE, f"{setting}; works for a single run, not for a sweep with -m")
