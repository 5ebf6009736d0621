"""Everything that a training step changes, copied in memory and put back."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.finiteness import all_finite
from vestim_pl.lightning_support.lightning_classes import is_sharded
from vestim_pl.lightning_support.module_state import copy_tensors, load_extras, save_extras
from vestim_pl.lightning_support.protocols import Rewinds, callbacks_with
from vestim_pl.lightning_support.random_state import random_states, restore_random_states
from vestim_pl.lightning_support.snapshot_fit import state_kinds
from vestim_pl.lightning_support.step_finiteness import nonfinite_names

__all__ = [
    "poisoned_buffers",
    "refuse_sharded_weights",
    "restore_snapshot",
    "take_snapshot",
    "tensors_in",
    "trained_parameters",
    "updated_parameters",
]


def trained_parameters(pl_module: LightningModule) -> dict[str, Tensor]:
    """Parameters that training changes, by name; a frozen one may be infinite by design, as masks are.

    Example::

        >>> trained_parameters(LightningModule())
        {}

    """
    return {name: parameter for name, parameter in pl_module.named_parameters() if parameter.requires_grad}


def updated_parameters(trainer: Trainer) -> list[Tensor]:
    """Parameters that optimizer steps change; found faster than by a walk through the module."""
    groups = [group["params"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return [parameter for group in groups for parameter in group if parameter.requires_grad]


def tensors_in(data: Any) -> list[Tensor]:
    """All tensors of a nested container.

    Example::

        >>> tensors_in({"a": [torch.ones(1)], "b": 2})
        [tensor([1.])]

    """
    found: list[Tensor] = []
    apply_to_collection(data, Tensor, found.append)
    return found


def refuse_sharded_weights(trainer: Trainer, callback: str) -> None:
    """Refuse strategies under which no rank holds whole weights and moments to copy.

    Raises:
        ConfigurationError: With the way out.

    """
    if is_sharded(trainer):
        raise ConfigurationError(
            f"{callback}: trainer.strategy {type(trainer.strategy).__name__} shards weights and moments, which its"
            " snapshots do not follow; use trainer.strategy=ddp or auto, or leave the callback out"
        )


def poisoned_buffers(pl_module: LightningModule, before: dict[str, Any] | None) -> list[str]:
    """Names of the buffers that are not finite now and were so in an earlier snapshot; the first few.

    Running statistics may become NaN while every loss is finite. A buffer that was never finite, such as a mask of
    -inf, is meant so.

    Args:
        pl_module: The module in training.
        before: An earlier snapshot; without one nothing counts.

    Example::

        >>> poisoned_buffers(torch.nn.BatchNorm1d(1), before=None)
        []

    """
    earlier = before["buffers"] if before else {}
    known = {name: buffer for name, buffer in pl_module.named_buffers() if name in earlier}
    if all_finite(known.values()):
        return []
    return nonfinite_names((name, buffer) for name, buffer in known.items() if all_finite([earlier[name]]))


def take_snapshot(
    trainer: Trainer, pl_module: LightningModule, before: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """Copy of parameters, buffers, optimizers, schedulers, scaler, random state and the module's extra state.

    The state of a callback is in it if the callback implements `Rewinds`, as a warmup does, which
    counts the updates in the weights.

    Take it between two optimizer steps, at the end of a batch, and on all ranks.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        before: The last good snapshot, by which `poisoned_buffers` judges.

    Returns:
        Nested plain containers, fit for a checkpoint; None where parameters, optimizer state or buffers are not finite.

    """
    snapshot = {
        "epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
        "parameters": dict(pl_module.named_parameters()),
        "buffers": dict(pl_module.named_buffers()),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "kinds": state_kinds(trainer),
        "precision": trainer.precision_plugin.state_dict(),
        "random_states": random_states(),
        "callbacks": {callback.state_key: callback.state_dict() for callback in _going_back(trainer)},
    }
    finite = all_finite([*trained_parameters(pl_module).values(), *tensors_in(snapshot["optimizers"])])
    finite = finite and not poisoned_buffers(pl_module, before)
    if not trainer.strategy.reduce_boolean_decision(finite, all=True):  # buffers may be of each rank's own data
        return None
    copied: dict[str, Any] = copy_tensors(snapshot)
    return copied | {"extras": save_extras(pl_module)}


@torch.no_grad()
def restore_snapshot(
    trainer: Trainer, pl_module: LightningModule, snapshot: dict[str, Any], random_state: bool = False
) -> None:
    """Put a snapshot back; gradients are dropped, epoch, step and the position in the data go on.

    The snapshot stays as it is, for another time.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        snapshot: What `take_snapshot` returned.
        random_state: Put the generators of Python, numpy and torch back too. As the data goes on, that makes dropout
            and shuffling repeat themselves over other data, and possibly the very draw that led astray.

    """
    snapshot = copy_tensors(snapshot)
    for name, parameter in pl_module.named_parameters():
        parameter.copy_(snapshot["parameters"][name])
        parameter.grad = None
    for name, saved in snapshot["buffers"].items():
        owner, _, leaf = name.rpartition(".")
        buffers = pl_module.get_submodule(owner)._buffers
        current = buffers.get(leaf)
        if current is not None and current.shape == saved.shape:
            current.copy_(saved)
        else:
            buffers[leaf] = saved
    for optimizer, state in zip(trainer.optimizers, snapshot["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    for config, state in zip(trainer.lr_scheduler_configs, snapshot["schedulers"], strict=True):
        config.scheduler.load_state_dict(state)
    if snapshot["precision"]:
        trainer.precision_plugin.load_state_dict(snapshot["precision"])
    load_extras(pl_module, snapshot["extras"])
    for callback in _going_back(trainer):
        if state := snapshot.get("callbacks", {}).get(callback.state_key):
            callback.go_back(trainer, state)
    if random_state and "random_states" in snapshot:  # an older version kept torch's alone
        restore_random_states(snapshot["random_states"])


def _going_back(trainer: Trainer) -> list[Any]:
    return callbacks_with(trainer, Rewinds)
