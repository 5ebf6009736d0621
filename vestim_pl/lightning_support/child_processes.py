"""Find the processes that a trainer has started."""

from typing import Any

from lightning.pytorch import Trainer

__all__ = ["child_processes"]


def child_processes(trainer: Trainer) -> list[Any]:
    """Return the processes that the trainer's launcher has started on this machine; empty if there are none.

    Lightning keeps them in an attribute of its launchers and has no public access to them. Tested with lightning 2.6.6.

    Example::

        >>> child_processes(Trainer(logger=False, enable_checkpointing=False))
        []

    """
    return list(getattr(trainer.strategy.launcher, "procs", []))
