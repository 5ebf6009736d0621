"""Run the step of a crash bundle again, on CPU and without the training data."""

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.seed import isolate_rng
from torch.optim import Optimizer

from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.functional.module_extras import load_extras
from vestim_pl.functional.plain_data import from_plain, import_any, import_named, is_complete
from vestim_pl.functional.pre_step_copy import load_optimizer_state
from vestim_pl.functional.quiet_trainer import quiet_trainer
from vestim_pl.functional.step_rerun import StepInputs, rerun_step, silence
from vestim_pl.functional.step_trace import StepTrace

__all__ = ["Replay", "load_state", "replay_bundle"]


@dataclass(frozen=True)
class Replay:
    """Outcome of a replay.

    Attributes:
        trace: What the step showed.
        notes: What could not be set up as it was, one sentence each.

    """

    trace: StepTrace
    notes: list[str]


def replay_bundle(bundle: dict[str, Any], trust: bool = False, factory: str | None = None, ring: int = 20) -> Replay:
    """Rebuild module, optimizer and batch of a bundle and run the step under observation.

    Args:
        bundle: What :func:`~vestim_pl.functional.bundle_file.read_bundle` returned.
        trust: Import the classes that the bundle names, wherever they are; this runs their code.
        factory: ``module:function`` that returns the LightningModule, instead of class and hyperparameters.
        ring: Number of ranges kept up to a finding.

    Raises:
        ConfigurationError: If the module or the batch cannot be rebuilt.

    """
    with isolate_rng():
        notes: list[str] = []
        module = _rebuild_module(bundle["module"], trust, factory)
        floats = [tensor.dtype for tensor in bundle["parameters"].values() if tensor.is_floating_point()]
        if floats:
            module.to(floats[0])
        module.trainer = quiet_trainer()
        notes += load_state(module, bundle["parameters"], bundle["buffers"], from_plain(bundle["extras"], trust))
        if notes:
            notes.append("the update is not replayed, for the weights do not all fit")
        optimizer = None if notes else _rebuild_optimizer(module, bundle["optimizer"], trust, notes)
        if not is_complete(bundle["batches"]):
            notes.append("the batch holds objects that could not be saved; they are replaced by their description")
        inputs = StepInputs(
            batches=from_plain(bundle["batches"], trust), indices=bundle["indices"], random=bundle["random"],
            precision=bundle["precision"], loss_scale=bundle["loss_scale"], clip_value=bundle["clip_value"],
            clip_by_value=bundle["clip_by_value"],
        )  # fmt: skip
        trace = StepTrace(ring)
        rerun_step(silence(module.train()), inputs, trace, optimizer)
    return Replay(trace, notes)


@torch.no_grad()
def load_state(module: LightningModule, parameters: dict[str, Any], buffers: dict[str, Any], extras: Any) -> list[str]:
    """Give a module the weights, buffers and extra state of before the step; notes what found no place."""
    notes: list[str] = []
    for kind, saved, places in (
        ("parameter", parameters, dict(module.named_parameters())),
        ("buffer", buffers, dict(module.named_buffers())),
    ):
        for name, tensor in saved.items():
            place = places.get(name)
            if place is not None and place.shape == tensor.shape:
                place.copy_(tensor)
            else:
                notes.append(f"{kind} {name} of the bundle has no place in the module")
        notes += [f"{kind} {name} is not in the bundle" for name in places if name not in saved]
    if extras:
        load_extras(module, extras)
    return notes


def _rebuild_module(description: dict[str, Any], trust: bool, factory: str | None) -> LightningModule:
    if factory is not None:
        module = import_any(factory)()
        if not isinstance(module, LightningModule):
            raise ConfigurationError(f"--factory {factory}: returned {type(module).__name__}, not a LightningModule")
        return module
    name, hparams = description["class"], description["hparams"]
    if not is_complete(hparams):
        raise ConfigurationError(
            f"{name}: its hyperparameters hold objects that could not be saved; pass --factory module:function that"
            " returns the module"
        )
    kind = import_named(name, LightningModule, trust)
    try:
        return kind(**from_plain(hparams, trust))
    except TypeError as error:
        raise ConfigurationError(
            f"{name}: cannot be built from its saved hyperparameters ({error}); call save_hyperparameters() in its"
            " __init__, or pass --factory module:function that returns the module"
        ) from error


def _rebuild_optimizer(
    module: LightningModule, description: dict[str, Any], trust: bool, notes: list[str]
) -> Optimizer | None:
    parameters = dict(module.named_parameters())
    groups = []
    for plain in description["groups"]:
        group = from_plain(plain, trust)
        groups.append(group | {"params": [parameters[name] for name in group["params"] if name in parameters]})
    try:
        optimizer: Optimizer = import_named(description["class"], Optimizer, trust)(groups, **_needed(groups))
    except (ConfigurationError, TypeError, ValueError) as error:
        notes.append(f"the update is not replayed, for the optimizer cannot be rebuilt: {error}")
        return None
    load_optimizer_state(optimizer, module, from_plain(description["state"], trust))
    return optimizer


def _needed(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The one option that some optimizers want as an argument, although every group has it."""
    return {"lr": groups[0]["lr"]} if groups and "lr" in groups[0] else {}
