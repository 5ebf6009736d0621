"""A copy in memory of everything that a training step changes."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.finiteness import all_finite, find_nonfinite
from vestim_pl.lightning_support.lightning_classes import is_sharded
from vestim_pl.lightning_support.module_state import load_extras, save_extras
from vestim_pl.lightning_support.protocols import Rewinds, callbacks_with
from vestim_pl.lightning_support.random_state import random_states, restore_random_states
from vestim_pl.lightning_support.tensors import buffer_dicts, copy_tensors, put_buffer, tensors_in

__all__ = [
    "nonfinite_buffers",
    "refuse_sharded_weights",
    "restore_snapshot",
    "snapshot_fits",
    "take_snapshot",
    "trained_parameters",
    "updated_parameters",
]


def trained_parameters(pl_module: LightningModule) -> dict[str, Tensor]:
    """The parameters that training changes, by name; a frozen one, such as a mask, may be infinite on purpose."""
    return {name: parameter for name, parameter in pl_module.named_parameters() if parameter.requires_grad}


def updated_parameters(trainer: Trainer) -> list[Tensor]:
    """The parameters that optimizer steps change; faster than a walk through the module."""
    groups = [group["params"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return [parameter for group in groups for parameter in group if parameter.requires_grad]


def refuse_sharded_weights(trainer: Trainer, callback: str) -> None:
    """Refuse strategies under which no rank holds the whole weights and optimizer state.

    Raises:
        ConfigurationError: With the setting to change.

    """
    if is_sharded(trainer):
        raise ConfigurationError(
            f"{callback}: trainer.strategy {type(trainer.strategy).__name__} shards weights and optimizer state, so no"
            " rank can take a snapshot of them; use the strategy ddp or auto, or leave the callback out"
        )


def nonfinite_buffers(pl_module: LightningModule, before: dict[str, Any] | None) -> list[str]:
    """Names of up to three buffers that are non-finite now and were finite in an earlier snapshot, if there is one.

    Running statistics may become NaN while every loss is finite. A buffer that never was finite, such as a mask of
    -inf, is so on purpose.
    """
    earlier = before["buffers"] if before else {}
    known = {name: buffer for name, buffer in pl_module.named_buffers() if name in earlier}
    if all_finite(known.values()):
        return []
    spoiled = ((name, buffer) for name, buffer in known.items() if all_finite([earlier[name]]))
    return [tensor.name for tensor in find_nonfinite(spoiled, limit=3)]


def take_snapshot(
    trainer: Trainer, pl_module: LightningModule, before: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """Copy parameters, buffers, optimizers, schedulers, scaler, random state and the module's extra state.

    The states of callbacks that implement `Rewinds` are included. A warmup is one, because it counts the updates in the
    weights. Call it between two optimizer steps, at the end of a batch, and on all ranks.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        before: The last good snapshot, for `nonfinite_buffers`.

    Returns:
        Nested plain containers, fit for a checkpoint; None if parameters, optimizer state or buffers are non-finite.

    """
    snapshot = {
        "epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
        "parameters": dict(pl_module.named_parameters()),
        "buffers": dict(pl_module.named_buffers()),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "kinds": _kinds(trainer),
        "precision": trainer.precision_plugin.state_dict(),
        "random_states": random_states(),
        "callbacks": {callback.state_key: callback.state_dict() for callback in _rewinding(trainer)},
    }
    finite = all_finite([*trained_parameters(pl_module).values(), *tensors_in(snapshot["optimizers"])])
    finite = finite and not nonfinite_buffers(pl_module, before)
    if not trainer.strategy.reduce_boolean_decision(finite, all=True):  # each rank may have its own buffers
        return None
    copied: dict[str, Any] = copy_tensors(snapshot)
    return copied | {"extras": save_extras(pl_module)}


@torch.no_grad()
def restore_snapshot(
    trainer: Trainer, pl_module: LightningModule, snapshot: dict[str, Any], random_state: bool = False
) -> None:
    """Restore a snapshot and drop the gradients; epoch, step and the position in the data stay.

    The snapshot is not changed and can be restored again. ``random_state`` restores the generators of Python, numpy and
    torch too. The data continue, so dropout and shuffling then repeat over other data, and possibly the very draw that
    made training diverge.
    """
    snapshot = copy_tensors(snapshot)
    for name, parameter in pl_module.named_parameters():
        parameter.copy_(snapshot["parameters"][name])
        parameter.grad = None
    owners = dict(buffer_dicts(pl_module))
    for name, saved in snapshot["buffers"].items():
        prefix, leaf = _split(name)
        put_buffer(owners[prefix], leaf, saved)
    for optimizer, state in zip(trainer.optimizers, snapshot["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    for config, state in zip(trainer.lr_scheduler_configs, snapshot["schedulers"], strict=True):
        config.scheduler.load_state_dict(state)
    if snapshot["precision"]:
        trainer.precision_plugin.load_state_dict(snapshot["precision"])
    load_extras(pl_module, snapshot["extras"])
    for callback in _rewinding(trainer):
        if state := snapshot.get("callbacks", {}).get(callback.state_key):
            callback.go_back(trainer, state)
    if random_state and "random_states" in snapshot:  # older versions saved only torch's, under another name
        restore_random_states(snapshot["random_states"])


def snapshot_fits(trainer: Trainer, pl_module: LightningModule, snapshot: dict[str, Any]) -> bool:
    """Whether module, optimizers and schedulers still have the structure that they had in the snapshot.

    Finetuning adds parameter groups, weight averaging replaces the scheduler, a growing network adds layers. An older
    snapshot cannot be restored then.
    """
    saved, now = snapshot["parameters"], dict(pl_module.named_parameters())
    if saved.keys() != now.keys() or any(saved[name].shape != now[name].shape for name in now):
        return False
    owners = dict(buffer_dicts(pl_module))
    if any(_split(name)[0] not in owners for name in snapshot["buffers"]):
        return False
    kinds = _kinds(trainer)
    groups = [_group_sizes(optimizer.param_groups) for optimizer in trainer.optimizers]
    return snapshot.get("kinds", kinds) == kinds and groups == [
        _group_sizes(state["param_groups"]) for state in snapshot["optimizers"]
    ]


def _kinds(trainer: Trainer) -> list[str]:
    """Class names of optimizers and schedulers, in order: a state is of use only to the class that wrote it."""
    owners = [*trainer.optimizers, *(config.scheduler for config in trainer.lr_scheduler_configs)]
    return [type(owner).__name__ for owner in owners]


def _group_sizes(groups: list[dict[str, Any]]) -> list[int]:
    return [len(group["params"]) for group in groups]


def _split(name: str) -> tuple[str, str]:
    """Split a buffer's name into the prefix of its owner and the name there."""
    owner, dot, leaf = name.rpartition(".")
    return owner + dot, leaf


def _rewinding(trainer: Trainer) -> list[Any]:
    return callbacks_with(trainer, Rewinds)
