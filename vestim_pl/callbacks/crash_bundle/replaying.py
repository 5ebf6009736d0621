"""Run the step of a crash bundle again, on the CPU and without the training data."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.parsing import AttributeDict
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.optim import Optimizer

from vestim_pl.callbacks.crash_bundle.class_import import class_path, import_any, import_named
from vestim_pl.callbacks.crash_bundle.plain_data import from_plain, is_complete, plain_entries
from vestim_pl.callbacks.crash_bundle.reading import check_bundle
from vestim_pl.callbacks.crash_bundle.recording import load_optimizer_state
from vestim_pl.errors import ConfigurationError, name_error
from vestim_pl.lightning_support.lightning_classes import lightning_classes, overrides_hook
from vestim_pl.lightning_support.module_state import load_extras
from vestim_pl.lightning_support.step_rerun import StepInputs, load_state, quiet_trainer, rerun_step, silence
from vestim_pl.lightning_support.step_trace import StepTrace
from vestim_pl.lightning_support.untrusted_files import UnusableFileError, refuse_outsized

__all__ = ["Replay", "replay_bundle"]

_TRUE_PRECISIONS = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}
_SPARE = 1_000_000  # parameters that may be missing in a bundle; a note names them


@dataclass(frozen=True)
class Replay:
    """Outcome of a replay: what the step showed, and what could not be restored or observed, one sentence each."""

    trace: StepTrace
    notes: list[str]


def replay_bundle(bundle: dict[str, Any], trust: bool = False, factory: str | None = None, ring: int = 20) -> Replay:
    """Rebuild module, optimizer and batch of a bundle and run the step under observation.

    The module is built in Lightning's order: ``__init__`` with the saved hyperparameters, ``setup("fit")``,
    ``configure_model()``. Then the state from before the step is loaded, with each tensor's dtype, frozen parameters
    and evaluation modes. Its trainer reports the epoch and step of the run. The update uses the gradients that the run
    applied; if the run made no update, the replay makes none.

    Args:
        bundle: From `read_bundle`.
        trust: Import any class that the bundle names; this runs its code.
        factory: ``module:function`` that returns the LightningModule, instead of class and hyperparameters.
        ring: Number of ranges kept before a finding.

    Raises:
        ConfigurationError: If the bundle is damaged, the module cannot be rebuilt, or the step fails to run.

    """
    try:
        check_bundle(bundle)
    except UnusableFileError as fault:
        raise ConfigurationError(f"the bundle {fault}; give another one") from None
    with isolate_rng():
        module, notes, fits = _restore_module(bundle, trust, factory)
        optimizer = None
        if not fits:
            notes.append("the update is not replayed, because some weights do not fit")
        elif bundle["applied"] is not None:
            optimizer = _rebuild_optimizer(module, bundle["optimizer"], trust, notes)
        if not is_complete(bundle["batches"]):
            notes.append("the batch holds objects that could not be saved; each is replaced by its description")
        inputs = StepInputs(
            batches=from_plain(bundle["batches"], trust), indices=bundle["indices"], random=bundle["random"],
            precision=bundle["precision"], loss_scale=bundle["loss_scale"], applied=bundle["applied"],
            divisor=bundle["trainer"]["accumulate_grad_batches"],
        )  # fmt: skip
        trace = StepTrace(ring)
        try:
            rerun_step(silence(module), inputs, trace, optimizer)
        except Exception as error:  # a foreign training_step may raise anything
            failure = f"the step fails in the replay ({name_error(error)})"
            if not trace.findings:
                raise ConfigurationError(
                    f"{bundle['module']['class']}: {'; '.join([failure, *notes])}; pass --factory module:function that"
                    " returns the module with everything that training_step needs"
                ) from error
            notes.append(failure)
    return Replay(trace, notes + trace.notes)


def _restore_module(
    bundle: dict[str, Any], trust: bool, factory: str | None
) -> tuple[LightningModule, list[str], bool]:
    """The module in its state from before the step, notes on what is missing, and whether all weights fit."""
    description = bundle["module"]
    if factory is not None:
        module = _from_factory(factory)
    else:
        module = _rebuild_module(description, trust, bundle["parameters"])
    notes = _build_layers(module, quiet_trainer(**bundle["trainer"]), set(bundle["parameters"]))
    if dtype := _TRUE_PRECISIONS.get(bundle["precision"]):
        module.to(dtype)  # so that module.dtype is right
    misfits = load_state(module, bundle["parameters"], bundle["buffers"], {})
    notes += misfits + _restore_extras(module, bundle["extras"], trust)
    evaluated, frozen = set(description["eval"]), set(description["frozen"])
    for name, part in module.named_modules():
        part.training = name not in evaluated
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return module, notes, not misfits


def _from_factory(factory: str) -> LightningModule:
    module: LightningModule = import_any(factory)()
    if isinstance(module, lightning_classes("LightningModule")):
        return module
    raise ConfigurationError(f"--factory {factory}: returned {type(module).__name__}, not a LightningModule")


def _rebuild_module(description: dict[str, Any], trust: bool, weights: Mapping[str, Tensor]) -> LightningModule:
    """Build a module from its class and hyperparameters, as Lightning does from a checkpoint.

    Without trust, nothing much larger than the weights is built.
    """
    name = description["class"]
    kind = import_named(name, LightningModule, trust)
    arguments = _init_arguments(kind, description, trust)
    try:
        if not trust:
            _refuse_larger(kind, arguments, weights)
        module: LightningModule = kind(**arguments)
        if is_complete(description["hparams"]):  # includes changes made after __init__
            module.hparams.update(from_plain(description["hparams"], trust))
    except UnusableFileError as fault:
        raise ConfigurationError(f"{name}: the bundle {fault}; it is damaged, give another one") from None
    except Exception as error:  # a foreign __init__ may raise anything
        raise ConfigurationError(
            f"{name}: cannot be built from its saved hyperparameters ({name_error(error)}); call save_hyperparameters()"
            " in its __init__, or pass --factory module:function that returns the module"
        ) from error
    return module


def _refuse_larger(kind: type, arguments: dict[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuse arguments that need far more parameters than the bundle has, found out without allocating memory."""
    refuse_outsized(arguments, weights)
    with torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in kind(**arguments).parameters())
    if wanted > sum(weight.numel() for weight in weights.values()) + _SPARE:
        raise UnusableFileError("has settings of another size than its weights")


def _init_arguments(kind: type, description: dict[str, Any], trust: bool) -> dict[str, Any]:
    """Hyperparameters as keyword arguments, without those that ``__init__`` does not take."""
    parameters = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    named = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    argument = description["argument"] if description["argument"] in named else None
    plain = plain_entries(description["initial"])
    taken = [key for key in plain or {} if argument or takes_any or key in named]
    lost = [f"hyperparameter {key}" for key in taken if plain and not is_complete(plain[key])]
    if lost or plain is None:
        raise ConfigurationError(
            f"{description['class']}: its {lost[0] if lost else 'hyperparameters'} could not be saved in the bundle;"
            " pass --factory module:function that returns the module"
        )
    if argument is None:
        return {key: from_plain(plain[key], trust) for key in taken}
    whole = from_plain(description["initial"], trust)
    return {argument: AttributeDict(whole) if isinstance(whole, dict) else whole}


def _build_layers(module: LightningModule, trainer: Trainer, needed: set[str]) -> list[str]:
    """Run ``setup`` and ``configure_model``, which may build layers, in Lightning's order.

    A hook may fail without the data of the run. That is a note if the module has every needed parameter, else an error.
    """
    module.trainer = trainer
    notes = []
    for hook, arguments in (("setup", ["fit"]), ("configure_model", [])):
        if not overrides_hook(module, hook):
            continue
        try:
            getattr(module, hook)(*arguments)
        except Exception as error:
            notes.append(f"{hook}({', '.join(map(repr, arguments))}) of the module failed ({name_error(error)})")
    missing = sorted(needed - {name for name, _ in module.named_parameters()})
    if notes and missing:
        raise ConfigurationError(
            f"{class_path(type(module))}: {'; '.join(notes)}, so parameter {missing[0]} is missing; pass --factory"
            " module:function that returns the module with all layers"
        )
    return notes


def _restore_extras(module: LightningModule, extras: dict[str, Any], trust: bool) -> list[str]:
    lost = [key for key, value in extras.items() if not is_complete(value)]
    notes = [f"{key}, which on_save_checkpoint adds, could not be saved and is left out" for key in lost]
    kept = {key: from_plain(value, trust) for key, value in extras.items() if key not in lost}
    if not kept:
        return notes
    try:
        load_extras(module, kept)
    except Exception as error:  # a foreign on_load_checkpoint may raise anything
        notes.append(f"on_load_checkpoint fails in the replay ({name_error(error)})")
    return notes


def _rebuild_optimizer(
    module: LightningModule, description: dict[str, Any], trust: bool, notes: list[str]
) -> Optimizer | None:
    parameters = dict(module.named_parameters())
    groups = from_plain(description["groups"], trust)
    for group in groups:
        group["params"] = [parameters[name] for name in group["params"] if name in parameters]
    needed = {"lr": groups[0]["lr"]} if groups and "lr" in groups[0] else {}  # an argument that some optimizers require
    try:
        optimizer: Optimizer = import_named(description["class"], Optimizer, trust)(groups, **needed)
    except (ConfigurationError, TypeError, ValueError) as error:
        notes.append(f"the update is not replayed, because the optimizer cannot be rebuilt: {error}")
        return None
    load_optimizer_state(optimizer, module, from_plain(description["state"], trust))
    return optimizer
