"""What a LightningModule adds to a checkpoint beside its weights: hyperparameters, and what its own hooks add."""

import copy
import sys
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch import __version__ as lightning_version
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from vestim_pl.functional.finiteness import nonfinite_rows
from vestim_pl.lightning_support.tensors import copy_tensors

__all__ = ["clear_nonfinite_extras", "hyperparameters_argument", "is_omegaconf", "load_extras", "save_extras"]


def save_extras(pl_module: LightningModule) -> dict[str, Any]:
    """Copy what the module's ``on_save_checkpoint`` adds to a checkpoint, such as a carried recurrent state."""
    checkpoint = _frame(pl_module)
    given = set(checkpoint)
    pl_module.on_save_checkpoint(checkpoint)
    return {key: copy_tensors(value) for key, value in checkpoint.items() if key not in given}


def load_extras(pl_module: LightningModule, extras: dict[str, Any]) -> None:
    """Pass what `save_extras` returned to the module's ``on_load_checkpoint``."""
    pl_module.on_load_checkpoint(_frame(pl_module) | copy_tensors(extras))


def clear_nonfinite_extras(pl_module: LightningModule) -> list[str]:
    """Set every row of the module's extra state that holds a non-finite value to zero.

    A truncated-BPTT module carries its state from batch to batch, so one bad batch would spoil its lane for all later
    batches. In a recurrent state of shape ``[B, ...]`` a zero row makes the lane start from the initial state.

    Returns:
        Names of the changed entries; if all were finite, the module's hooks for loading are not called.

    Example::

        >>> import torch
        >>> class Carrying(LightningModule):
        ...     state = torch.tensor([[1.0], [float("nan")]])
        ...     def on_save_checkpoint(self, checkpoint):
        ...         checkpoint["state"] = self.state
        ...     def on_load_checkpoint(self, checkpoint):
        ...         self.state = checkpoint["state"]
        >>> module = Carrying()
        >>> clear_nonfinite_extras(module), module.state.tolist()
        (['state'], [[1.0], [0.0]])

    """
    extras = save_extras(pl_module)
    cleared: list[str] = []
    for key, value in extras.items():
        extras[key] = apply_to_collection(value, Tensor, _zero_nonfinite_rows, cleared, key)
    if cleared:
        load_extras(pl_module, extras)
    return sorted(set(cleared))


def _zero_nonfinite_rows(tensor: Tensor, cleared: list[str], key: str) -> Tensor:
    if not tensor.is_floating_point() or not (bad := nonfinite_rows(tensor)).any():
        return tensor
    cleared.append(key)
    return tensor.masked_fill(bad.view(-1, *(1,) * (tensor.ndim - 1)) if tensor.ndim else bad, 0.0)


def _frame(pl_module: LightningModule) -> dict[str, Any]:
    """The entries of Lightning's ``dump_checkpoint``, which a module's hooks may expect to find.

    The states of callbacks, optimizers and schedulers are left empty: they are expensive to collect and do not belong
    to the module. Tested with lightning 2.6.6.
    """
    trainer = _trainer_of(pl_module)
    frame = {
        "epoch": trainer.current_epoch if trainer else 0,
        "global_step": trainer.global_step if trainer else 0,
        "pytorch-lightning_version": lightning_version,
        "state_dict": dict(pl_module.state_dict()),
        "loops": _loops(trainer) if trainer else {},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    datamodule = trainer.datamodule if trainer else None  # type: ignore[attr-defined]
    for owner in (pl_module, datamodule):
        if owner is not None and owner.hparams:
            frame |= _hyperparameters(owner)
    for part in (trainer.precision_plugin, datamodule) if trainer else ():
        if part is not None and (state := part.state_dict()):
            frame[type(part).__qualname__] = state
    return frame


def _trainer_of(pl_module: LightningModule) -> Trainer | None:
    """The trainer that the module is attached to, if any; the public property raises without one. lightning 2.6.6."""
    return pl_module._trainer


def _loops(trainer: Trainer) -> dict[str, Any]:
    names = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
    return {name: getattr(trainer, name).state_dict() for name in names}


def _hyperparameters(owner: LightningModule | LightningDataModule) -> dict[str, Any]:
    """Name and copy of the hyperparameters, and their type if they are an OmegaConf container. lightning 2.6.6."""
    found: dict[str, Any] = {}
    if hasattr(owner, "_hparams_name"):
        found[owner.CHECKPOINT_HYPER_PARAMS_NAME] = owner._hparams_name
    if is_omegaconf(owner.hparams):
        found[owner.CHECKPOINT_HYPER_PARAMS_TYPE] = type(owner.hparams)
        return found | {owner.CHECKPOINT_HYPER_PARAMS_KEY: copy.copy(owner.hparams)}
    return found | {owner.CHECKPOINT_HYPER_PARAMS_KEY: dict(owner.hparams)}


def is_omegaconf(value: Any) -> bool:
    """Whether a value is a container of OmegaConf, which the callbacks do not import.

    A process that never imported OmegaConf holds none of its containers.

    Example::

        >>> from omegaconf import OmegaConf
        >>> is_omegaconf(OmegaConf.create({"a": 1})), is_omegaconf({"a": 1})
        (True, False)

    """
    omegaconf = sys.modules.get("omegaconf")
    return omegaconf is not None and isinstance(value, omegaconf.Container)


def hyperparameters_argument(module: LightningModule) -> str | None:
    """Name of the one ``__init__`` argument that holds all hyperparameters; None where each has its own argument.

    ``save_hyperparameters(config)`` remembers the name in ``_hparams_name``, and Lightning has no public way to read
    it. Tested with lightning 2.6.6.
    """
    return getattr(module, "_hparams_name", None)
