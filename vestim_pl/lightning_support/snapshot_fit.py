"""Whether a snapshot still belongs to the module as it is now."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer

__all__ = ["snapshot_fits", "state_kinds"]


def state_kinds(trainer: Trainer) -> list[str]:
    """Kinds of the optimizers and schedulers, in order: the state of one kind means nothing to another.

    Example::

        >>> state_kinds(Trainer(logger=False, enable_checkpointing=False))
        []

    """
    owners = [*trainer.optimizers, *(config.scheduler for config in trainer.lr_scheduler_configs)]
    return [type(owner).__name__ for owner in owners]


def snapshot_fits(trainer: Trainer, pl_module: LightningModule, snapshot: dict[str, Any]) -> bool:
    """Whether module, optimizers and schedulers have the structure that they had when the snapshot was taken.

    Finetuning adds parameter groups, averaging of weights replaces the scheduler, a growing network adds layers: what
    was saved before cannot be put back then.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        snapshot: What `take_snapshot` returned.

    """
    saved, now = snapshot["parameters"], dict(pl_module.named_parameters())
    if saved.keys() != now.keys() or any(saved[name].shape != now[name].shape for name in now):
        return False
    owners = {path for path, _ in pl_module.named_modules()}
    if any(name.rpartition(".")[0] not in owners for name in snapshot["buffers"]):
        return False
    kinds = state_kinds(trainer)
    groups = [_group_sizes(optimizer.param_groups) for optimizer in trainer.optimizers]
    return snapshot.get("kinds", kinds) == kinds and groups == [
        _group_sizes(state["param_groups"]) for state in snapshot["optimizers"]
    ]


def _group_sizes(groups: list[dict[str, Any]]) -> list[int]:
    return [len(group["params"]) for group in groups]
