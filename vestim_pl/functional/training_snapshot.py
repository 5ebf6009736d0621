"""Everything that a training step changes, copied in memory and put back."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.functional.finiteness import all_finite
from vestim_pl.functional.module_extras import copy_tensors, load_extras, save_extras
from vestim_pl.functional.random_state import random_states, restore_random_states

__all__ = [
    "SnapshotStore",
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
    if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
        raise ConfigurationError(
            f"{callback}: trainer.strategy {type(trainer.strategy).__name__} shards weights and moments, which its"
            " snapshots do not follow; use trainer.strategy=ddp or auto, or leave the callback out"
        )


def take_snapshot(trainer: Trainer, pl_module: LightningModule) -> dict[str, Any] | None:
    """Copy of parameters, buffers, optimizers, schedulers, scaler, random state and the module's extra state.

    The state of a callback is in it if the callback has a method ``go_back(trainer, state)``, as a warmup does, which
    counts the updates in the weights.

    Take it between two optimizer steps, at the end of a batch.

    Returns:
        Nested plain containers, fit for a checkpoint; None where parameters or optimizer state are not finite.

    """
    snapshot = {
        "epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
        "parameters": dict(pl_module.named_parameters()),
        "buffers": dict(pl_module.named_buffers()),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "precision": trainer.precision_plugin.state_dict(),
        "random_states": random_states(),
        "callbacks": {callback.state_key: callback.state_dict() for callback in _going_back(trainer)},
    }
    if not all_finite([*trained_parameters(pl_module).values(), *tensors_in(snapshot["optimizers"])]):
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
        snapshot: What :func:`take_snapshot` returned.
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
    return [callback for callback in trainer.callbacks if hasattr(callback, "go_back")]  # type: ignore[attr-defined]


class SnapshotStore:
    """Two generations of snapshots that proved good, one on probation, and those of the best loss and validation.

    Finite is not yet good: the update that made the weights huge leaves them finite, and only the next loss shows it.
    So a new snapshot counts once the loss computed with its weights was good, and the one before it is kept for the
    case that the newest leads astray again.

    A slow divergence makes good losses step by step, and bad ones only beside those of long ago. For that case there
    are two snapshots more: one from which the best losses so far were reached, and the one validated best.

    Example::

        >>> store = SnapshotStore()
        >>> store.offer({"global_step": 1})
        >>> store.newest is None
        True
        >>> store.confirm()
        True
        >>> store.newest
        {'global_step': 1}

    """

    pending: dict[str, Any] | None
    good: list[dict[str, Any]]
    best: dict[str, Any] | None
    validated: dict[str, Any] | None

    def __init__(self) -> None:
        self.load_state_dict({})

    @property
    def newest(self) -> dict[str, Any] | None:
        """The newest good snapshot."""
        return self.good[-1] if self.good else None

    def offer(self, snapshot: dict[str, Any]) -> None:
        """Put a snapshot on probation."""
        self.pending = snapshot

    def confirm(self) -> bool:
        """The loss with the pending snapshot's weights was good; returns whether there was one."""
        if self.pending is None:
            return False
        self.good = [*self.good[-1:], self.pending]
        self.pending = None
        return True

    def mark_best(self, since: int) -> None:
        """The losses since that step are the best so far: keep the newest good snapshot that is not younger."""
        old = [snapshot for snapshot in self.good if snapshot["global_step"] <= since]
        self.best = next(iter(old[-1:] or self.good), None)

    def step_back(self, to_older: bool, to: dict[str, Any] | None = None) -> None:
        """Drop the snapshot on probation; and all but the one given, or the newest if there is an older good one."""
        self.pending = None
        if to is not None:
            self.good = [to]
        elif to_older and len(self.good) > 1:
            self.good.pop()

    def state_dict(self) -> dict[str, Any]:
        """The snapshots, as they are."""
        return {"pending": self.pending, "good": list(self.good), "best": self.best, "validated": self.validated}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take snapshots back; what is missing starts anew."""
        self.pending = state.get("pending")
        self.good = list(state.get("good", []))
        self.best = state.get("best")
        self.validated = state.get("validated")
