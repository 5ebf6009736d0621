"""One training step, run again under observation."""

import copy
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.optim import Optimizer

from vestim_pl.lightning_support.loop_progress import set_progress
from vestim_pl.lightning_support.module_state import load_extras
from vestim_pl.lightning_support.precision import precision_context
from vestim_pl.lightning_support.random_state import restore_random_states
from vestim_pl.lightning_support.step_trace import Phase, StepTrace, traced

__all__ = [
    "StepInputs",
    "batch_name",
    "load_state",
    "loss_of_step",
    "quiet_trainer",
    "rerun_step",
    "silence",
    "silent_copy",
]


@dataclass(frozen=True)
class StepInputs:
    """The inputs of one optimizer step, besides weights and optimizer state.

    Attributes:
        batches: Batches of the accumulation window.
        indices: Their indices in the epoch.
        random: Random states before each batch, see `random_states`.
        precision: Lightning's name of the precision.
        loss_scale: Factor of the gradient scaler, None without one.
        divisor: Divisor of each loss: ``accumulate_grad_batches``, even for a shorter last window.
        applied: Gradients by parameter that the optimizer used, after clipping and callbacks; None if it made no
            update.

    """

    batches: Sequence[Any]
    indices: Sequence[int]
    random: Sequence[dict[str, Any]]
    precision: str = "32-true"
    loss_scale: float | None = None
    divisor: int = 1
    applied: Mapping[str, Tensor] | None = None


def rerun_step(module: LightningModule, inputs: StepInputs, trace: StepTrace, optimizer: Optimizer | None) -> None:
    """Run ``training_step``, backward pass and update of one step and record every tensor.

    The update uses the gradients that the run applied, so clipping, callbacks and hooks of the module are included. If
    the run made no update, neither does this.

    Changes the module, the optimizer and the random state: pass a copy, and isolate the generators.

    Args:
        module: Module with the weights before the step.
        inputs: Batches and conditions of the step.
        trace: Records the ranges.
        optimizer: Optimizer with the moments before the step; None for no update.

    """
    parameters = {
        name: p for name, p in module.named_parameters() if p.requires_grad
    }  # a frozen parameter may be infinite
    trace.see_all(Phase.PARAMETER, parameters)
    if optimizer is not None:
        _see_moments(trace, Phase.PARAMETER, parameters, optimizer)
    for index, batch in zip(inputs.indices, inputs.batches, strict=True):
        trace.see_all(Phase.BATCH, batch, batch_name(index, inputs.indices))
    module.zero_grad(set_to_none=True)
    scale = inputs.loss_scale or 1.0
    device_type = next((parameter.device.type for parameter in parameters.values()), "cpu")
    with torch.enable_grad(), traced(module, trace):
        for batch, index, random in zip(inputs.batches, inputs.indices, inputs.random, strict=True):
            restore_random_states(random)
            with precision_context(inputs.precision, device_type):
                loss = loss_of_step(module, batch, index)
            if loss is None:
                continue
            trace.see(Phase.LOSS, f"of batch {index}", loss)
            if loss.requires_grad:
                (loss * (scale / inputs.divisor)).backward()
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.grad is not None:
                parameter.grad.div_(scale)
                trace.see(Phase.GRADIENT, name, parameter.grad)
    if optimizer is not None and inputs.applied is not None:
        trace.see_all(Phase.GRADIENT, dict(inputs.applied))
        for name, parameter in parameters.items():
            parameter.grad = inputs.applied.get(name)
        optimizer.step()
        trace.see_all(Phase.UPDATE, parameters)
        _see_moments(trace, Phase.UPDATE, parameters, optimizer)


def batch_name(index: int, indices: Sequence[int]) -> str:
    """Prefix for the fields of a batch: its index, or nothing where the step has only one batch."""
    return "" if len(indices) == 1 else f"{index}"


def loss_of_step(module: LightningModule, batch: Any, batch_idx: int) -> Tensor | None:
    """Loss from the ``training_step`` of the module's class, without wrappers that were set on the instance."""
    step = type(module).training_step
    takes_index = is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
    output = step(module, batch, batch_idx) if takes_index else step(module, batch)
    loss = output["loss"] if isinstance(output, dict) else output
    return loss if isinstance(loss, Tensor) else None


def silent_copy(trainer: Trainer, module: LightningModule) -> LightningModule:
    """Copy a module that is in training, to run it without any effect on the training.

    The copy shares the trainer, which a ``training_step`` may read, and logs nothing. Lightning leaves the trainer out
    of a deep copy.
    """
    silent = silence(copy.deepcopy(module, {id(trainer): trainer}))
    silent.trainer = trainer
    return silent


def silence(module: LightningModule) -> LightningModule:
    """Make ``log`` and ``log_dict`` of a module do nothing."""
    for name in ("log", "log_dict"):
        setattr(module, name, lambda *args, **kwargs: None)
    return module


@torch.no_grad()
def load_state(module: LightningModule, parameters: dict[str, Any], buffers: dict[str, Any], extras: Any) -> list[str]:
    """Load the weights, buffers and extra state from before a step, each with its own dtype.

    Returns one note for each tensor that does not fit or is missing.
    """
    notes: list[str] = []
    for kind, saved, places in (
        ("parameter", parameters, dict(module.named_parameters())),
        ("buffer", buffers, dict(module.named_buffers())),
    ):
        for name, tensor in saved.items():
            place = places.get(name)
            if place is not None and place.shape == tensor.shape:
                if place.dtype != tensor.dtype:
                    place.data = place.data.to(tensor.dtype)
                place.copy_(tensor)
            else:
                notes.append(f"{kind} {name} of the bundle does not fit the module")
        notes += [f"{kind} {name} is not in the bundle" for name in places if name not in saved]
    if extras:
        load_extras(module, extras)
    return notes


def _see_moments(trace: StepTrace, phase: Phase, parameters: dict[str, Any], optimizer: Optimizer) -> None:
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                trace.see(phase, name, value, f"optimizer's {key}")


def quiet_trainer(epoch: int = 0, step: int = 0, batches: float = math.inf, **options: Any) -> Trainer:
    """Build a CPU trainer that fits nothing and prints nothing, with another run's progress.

    A ``training_step`` may read ``self.trainer`` (``log_every_n_steps``, ``global_step``), so it needs one outside
    ``fit`` too.

    Args:
        epoch: Its ``current_epoch``.
        step: Its ``global_step``.
        batches: Its ``num_training_batches``.
        options: Further arguments of the trainer, such as ``max_epochs``.

    Example::

        >>> trainer = quiet_trainer(epoch=2, step=70)
        >>> trainer.current_epoch, trainer.global_step, trainer.training
        (2, 70, True)

    """
    logs = [logging.getLogger(name) for name in ("lightning.pytorch", "pytorch_lightning")]  # which imported last logs
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = Trainer(
                accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                enable_model_summary=False, **options,
            )  # fmt: skip
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
    trainer.training = True
    set_progress(trainer, epoch, step, batches)
    return trainer
