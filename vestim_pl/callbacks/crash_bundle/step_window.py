"""What goes into an optimizer step, remembered cheaply until the step is known to be good."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from vestim_pl.callbacks.crash_bundle.pre_step_copy import PreStepCopy
from vestim_pl.functional.finiteness import all_finite, total_norm
from vestim_pl.lightning_support.buffer_copy import BufferCopy
from vestim_pl.lightning_support.lightning_classes import overrides_hook
from vestim_pl.lightning_support.module_state import save_extras
from vestim_pl.lightning_support.nested_tensors import copy_tensors, named_tensors
from vestim_pl.lightning_support.random_state import random_states, restore_random_states
from vestim_pl.lightning_support.step_finiteness import step_signals

__all__ = ["StepWindow"]


class StepWindow:
    """References and copies of one accumulation window: batches, random states, buffers, weights, moments, gradients.

    Everything is kept by reference but what the step itself overwrites: buffers, the module's extra state (a carried
    recurrent state, say), parameters and optimizer state are copied on their device.

    Args:
        module: The module in training.
        optimizer: Its optimizer.

    """

    def __init__(self, module: LightningModule, optimizer: Optimizer) -> None:
        self._module = module
        self._names = {parameter: name for name, parameter in module.named_parameters()}
        self._buffers = BufferCopy(module)
        self._has_extras = overrides_hook(module, "on_save_checkpoint")
        self._has_cuda = torch.cuda.is_available()
        self.parameters = list(self._names)
        self.copy = PreStepCopy(module, optimizer)
        extras = named_tensors(_extras(module)) if self._has_extras else []
        self._sound_buffers = {name for name, buffer in module.named_buffers() if all_finite([buffer])}
        self._unsound_extras = {name for name, tensor in extras if not all_finite([tensor])}
        self.clear()

    def clear(self) -> None:
        """Forget the window: its step is done."""
        self.batches: list[Any] = []
        self.indices: list[int] = []
        self.losses: list[Tensor] = []
        self.gradients: dict[str, Tensor] = {}
        self._signals: Tensor | None = None
        self.read: list[float] = []
        self.loss_scale: float | None = None
        self.rerun: dict[str, Any] = {}
        self.copied = False
        self.updating = False  # whether the update is about to be made, or was
        self._random: list[tuple[Any, ...]] = []

    def start_batch(self, batch: Any, index: int) -> None:
        """Remember a batch before its forward pass."""
        if not self.batches:
            self._buffers.save()
            self.extras = _extras(self._module) if self._has_extras else {}
        self.batches.append(batch)
        self.indices.append(index)
        cuda = torch.cuda.get_rng_state_all() if self._has_cuda else []
        numpy = np.random.get_state()  # noqa: NPY002 - the global generator is the one in use
        self._random.append((random.getstate(), numpy, torch.get_rng_state(), cuda))

    @property
    def buffers(self) -> dict[str, Tensor]:
        """Buffers by name, as they were before the first batch."""
        return self._buffers.named()

    def carried(self) -> list[tuple[str, str, Tensor]]:
        """What was there before the first batch beside weights and moments: kind, name, tensor.

        Left out is what was not finite when the training began, such as an attention mask of -inf or a best score, and
        buffers that were not there then.
        """
        buffers = [("buffer", name, tensor) for name, tensor in self.buffers.items() if name in self._sound_buffers]
        extras = [(name, tensor) for name, tensor in named_tensors(self.extras) if name not in self._unsound_extras]
        return buffers + [("carried state", name, tensor) for name, tensor in extras]

    def before_update(self) -> None:
        """Copy weights and moments, and keep the gradients."""
        self.copy_state()
        self.gradients = {name: p.grad for p, name in self._names.items() if p.grad is not None}
        self.updating = True

    def measure(self) -> Tensor:
        """Losses and gradients measured on their device, once a window, without reading it."""
        if self._signals is None:
            dense = [grad.coalesce().values() if grad.is_sparse else grad for grad in self.gradients.values()]
            self._signals = step_signals(self.losses, total_norm(dense))
        return self._signals

    def copy_state(self) -> None:
        """Copy weights and moments, once a window."""
        if not self.copied:
            self.copy.save()
            self.copied = True

    def random_states(self) -> list[dict[str, Any]]:
        """Random states before each batch, as plain types."""
        now, states = random_states(), []
        for python, numpy, cpu, cuda in self._random:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            torch.set_rng_state(cpu)
            states.append(random_states() | {"cuda": cuda})
        restore_random_states(now)
        return states


def _extras(module: LightningModule) -> dict[str, Any]:
    """What the module's ``on_save_checkpoint`` adds, asked with an empty checkpoint: to fill one takes longer."""
    checkpoint: dict[str, Any] = {"state_dict": {}}
    try:
        module.on_save_checkpoint(checkpoint)
    except (KeyError, AttributeError):  # it looks for what a real checkpoint has
        return save_extras(module)
    return {key: copy_tensors(value) for key, value in checkpoint.items() if key != "state_dict"}
