"""What a LightningModule keeps beside its parameters, reached through its own checkpoint hooks."""

import copy
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch import __version__ as lightning_version
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from vestim_pl.lightning_support.hyperparameters import is_omegaconf

__all__ = ["clear_nonfinite_extras", "copy_tensors", "load_extras", "save_extras"]


def copy_tensors(data: Any) -> Any:
    """Copy of a nested container in which every tensor is cloned and cut off its graph.

    Example::

        >>> copy_tensors({"a": [torch.ones(1)]})
        {'a': [tensor([1.])]}

    """
    if isinstance(data, Tensor):
        return data.detach().clone()
    kind = type(data)
    if (
        kind is dict
    ):  # the plain types by hand: callbacks copy at every step, and Lightning's walk takes ten times as long
        return {key: copy_tensors(value) for key, value in data.items()}
    if kind is list or kind is tuple:
        return kind([copy_tensors(value) for value in data])
    if data is None or kind in (bool, int, float, str):
        return data
    return apply_to_collection(data, Tensor, lambda tensor: tensor.detach().clone())


def save_extras(pl_module: LightningModule) -> dict[str, Any]:
    """What the module's ``on_save_checkpoint`` adds to a checkpoint, such as a carried recurrent state; copied.

    Example::

        >>> save_extras(LightningModule())
        {}

    """
    checkpoint = _frame(pl_module)
    given = set(checkpoint)
    pl_module.on_save_checkpoint(checkpoint)
    return {key: copy_tensors(value) for key, value in checkpoint.items() if key not in given}


def load_extras(pl_module: LightningModule, extras: dict[str, Any]) -> None:
    """Give the module back what `save_extras` took, through its ``on_load_checkpoint``."""
    pl_module.on_load_checkpoint(_frame(pl_module) | copy_tensors(extras))


def clear_nonfinite_extras(pl_module: LightningModule) -> list[str]:
    """Zero every row of the module's extra state that holds a NaN or an infinity.

    A truncated-BPTT module carries its state from batch to batch; one bad batch would poison its lane for all batches
    to come. For a recurrent state of shape ``[B, ...]`` a zero row means that the lane starts anew.

    Returns:
        Names of the entries that were mended; empty where all was finite, and then the module is not touched.

    Example::

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
    mended: list[str] = []
    for key, value in extras.items():
        extras[key] = apply_to_collection(value, Tensor, _zero_nonfinite_rows, mended, key)
    if mended:
        load_extras(pl_module, extras)
    return sorted(set(mended))


def _zero_nonfinite_rows(tensor: Tensor, mended: list[str], key: str) -> Tensor:
    if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
        return tensor
    mended.append(key)
    bad = ~torch.isfinite(tensor)
    while bad.ndim > 1:
        bad = bad.any(-1)
    return tensor.masked_fill(bad.view(-1, *(1,) * (tensor.ndim - 1)) if tensor.ndim else bad, 0.0)


def _frame(pl_module: LightningModule) -> dict[str, Any]:
    """The entries of a checkpoint that a module's hooks may expect to find: those of Lightning's ``dump_checkpoint``.

    What callbacks, optimizers and schedulers know is left empty: it is dear to collect, and not the module's.
    """
    trainer = pl_module._trainer
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


def _loops(trainer: Trainer) -> dict[str, Any]:
    names = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
    return {name: getattr(trainer, name).state_dict() for name in names}


def _hyperparameters(owner: LightningModule | LightningDataModule) -> dict[str, Any]:
    """Name and copy of the hyperparameters, and their type where they are a container of OmegaConf."""
    found: dict[str, Any] = {}
    if hasattr(owner, "_hparams_name"):
        found[owner.CHECKPOINT_HYPER_PARAMS_NAME] = owner._hparams_name
    if is_omegaconf(owner.hparams):
        found[owner.CHECKPOINT_HYPER_PARAMS_TYPE] = type(owner.hparams)
        return found | {owner.CHECKPOINT_HYPER_PARAMS_KEY: copy.copy(owner.hparams)}
    return found | {owner.CHECKPOINT_HYPER_PARAMS_KEY: dict(owner.hparams)}
