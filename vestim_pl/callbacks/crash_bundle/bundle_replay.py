"""Run the step of a crash bundle again, on CPU and without the training data."""

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.seed import isolate_rng
from torch.optim import Optimizer

from vestim_pl.callbacks.crash_bundle.bundle_check import check_bundle
from vestim_pl.callbacks.crash_bundle.class_import import import_named
from vestim_pl.callbacks.crash_bundle.module_rebuild import build_layers, rebuild_module, restore_modes
from vestim_pl.callbacks.crash_bundle.plain_data import from_plain, is_complete
from vestim_pl.callbacks.crash_bundle.pre_step_copy import load_optimizer_state
from vestim_pl.callbacks.crash_bundle.quiet_trainer import quiet_trainer
from vestim_pl.errors import ConfigurationError, name_error
from vestim_pl.lightning_support.module_state import load_extras
from vestim_pl.lightning_support.step_rerun import StepInputs, rerun_step, silence
from vestim_pl.lightning_support.step_trace import StepTrace
from vestim_pl.lightning_support.tensor_archive import UnusableFileError

__all__ = ["Replay", "load_state", "replay_bundle"]

_TRUE_PRECISIONS = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}


@dataclass(frozen=True)
class Replay:
    """Outcome of a replay.

    Attributes:
        trace: What the step showed.
        notes: What could not be set up or seen as it was, one sentence each.

    """

    trace: StepTrace
    notes: list[str]


def replay_bundle(bundle: dict[str, Any], trust: bool = False, factory: str | None = None, ring: int = 20) -> Replay:
    """Rebuild module, optimizer and batch of a bundle and run the step under observation.

    The module is built as Lightning does it: ``__init__`` with the saved hyperparameters, ``setup("fit")``,
    ``configure_model()``, then the state of before the step, with each tensor's type, and who was frozen or in
    evaluation mode; its trainer tells epoch and step of the run. The update is made with the gradients that the run
    made it with; where it made none, because a guard skipped it or the bundle was written before, none is made.

    Args:
        bundle: What `read_bundle` returned.
        trust: Import the classes that the bundle names, wherever they are; this runs their code.
        factory: ``module:function`` that returns the LightningModule, instead of class and hyperparameters.
        ring: Number of ranges kept up to a finding.

    Raises:
        ConfigurationError: If the bundle is damaged, the module cannot be rebuilt, or its step not be run.

    """
    try:
        check_bundle(bundle)
    except UnusableFileError as fault:
        raise ConfigurationError(f"the bundle {fault}; give another one") from None
    with isolate_rng():
        module = rebuild_module(bundle["module"], trust, factory, bundle["parameters"])
        notes = build_layers(module, quiet_trainer(**bundle["trainer"]), set(bundle["parameters"]))
        if dtype := _TRUE_PRECISIONS.get(bundle["precision"]):
            module.to(dtype)  # so that it tells this as its own dtype
        misfits = load_state(module, bundle["parameters"], bundle["buffers"], {})
        notes += misfits + _restore_extras(module, bundle["extras"], trust)
        restore_modes(module, bundle["module"])
        optimizer = None
        if misfits:
            notes.append("the update is not replayed, for the weights do not all fit")
        elif bundle["applied"] is not None:
            optimizer = _rebuild_optimizer(module, bundle["optimizer"], trust, notes)
        if not is_complete(bundle["batches"]):
            notes.append("the batch holds objects that could not be saved; they are replaced by their description")
        inputs = StepInputs(
            batches=from_plain(bundle["batches"], trust), indices=bundle["indices"], random=bundle["random"],
            precision=bundle["precision"], loss_scale=bundle["loss_scale"], applied=bundle["applied"],
            divisor=bundle["trainer"]["accumulate_grad_batches"],
        )  # fmt: skip
        trace = StepTrace(ring)
        try:
            rerun_step(silence(module), inputs, trace, optimizer)
        except Exception as error:  # somebody's training_step may raise anything
            failure = f"the step fails in the replay ({name_error(error)})"
            if not trace.findings:
                raise ConfigurationError(
                    f"{bundle['module']['class']}: {'; '.join([failure, *notes])}; pass --factory module:function that"
                    " returns the module with all that training_step needs"
                ) from error
            notes.append(failure)
    return Replay(trace, notes + trace.notes)


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
                if place.dtype != tensor.dtype:  # each as it was: a module may mix them
                    place.data = place.data.to(tensor.dtype)
                place.copy_(tensor)
            else:
                notes.append(f"{kind} {name} of the bundle has no place in the module")
        notes += [f"{kind} {name} is not in the bundle" for name in places if name not in saved]
    if extras:
        load_extras(module, extras)
    return notes


def _restore_extras(module: LightningModule, extras: dict[str, Any], trust: bool) -> list[str]:
    lost = [key for key, value in extras["items"] if not is_complete(value)]
    notes = [f"{key}, which on_save_checkpoint adds, could not be saved and is left out" for key in lost]
    kept = {key: from_plain(value, trust) for key, value in extras["items"] if key not in lost}
    if not kept:
        return notes
    try:
        load_extras(module, kept)
    except Exception as error:  # somebody's on_load_checkpoint may raise anything
        notes.append(f"on_load_checkpoint fails in the replay ({name_error(error)})")
    return notes


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
