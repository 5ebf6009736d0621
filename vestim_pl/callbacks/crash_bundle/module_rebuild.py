"""A LightningModule described in plain data, and built from that again."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.parsing import AttributeDict
from torch import Tensor

from vestim_pl.callbacks.crash_bundle.class_import import class_path, import_any, import_named
from vestim_pl.callbacks.crash_bundle.plain_data import from_plain, is_complete, to_plain
from vestim_pl.errors import ConfigurationError, name_error
from vestim_pl.lightning_support.lightning_classes import overrides_hook, with_twin
from vestim_pl.lightning_support.outsized import refuse_outsized
from vestim_pl.lightning_support.tensor_archive import UnusableFileError

__all__ = ["build_layers", "describe_module", "rebuild_module", "restore_modes"]

_SPARE = 1_000_000  # parameters that may be missing in a bundle, which a note then says


def describe_module(module: LightningModule) -> dict[str, Any]:
    """Class, hyperparameters and modes of a module, in plain data.

    Returns:
        ``class``; ``initial`` and ``hparams``, the hyperparameters as ``__init__`` had them and as they are now;
        ``argument``, the name of the argument that holds them all, if one does; ``eval`` and ``frozen``, the names of
        submodules not in training mode and of parameters that need no gradient.

    """
    return {
        "class": class_path(type(module)),
        "initial": to_plain(module.hparams_initial),
        "hparams": to_plain(module.hparams),
        "argument": getattr(module, "_hparams_name", None),
        "eval": [name for name, part in module.named_modules() if not part.training],
        "frozen": [name for name, parameter in module.named_parameters() if not parameter.requires_grad],
    }


def rebuild_module(
    description: dict[str, Any], trust: bool, factory: str | None, weights: Mapping[str, Tensor]
) -> LightningModule:
    """Build a module from its class and hyperparameters as Lightning does from a checkpoint, or by a factory.

    Args:
        description: What `describe_module` returned.
        trust: Import the class wherever it is.
        factory: ``module:function`` that returns the module.
        weights: Parameters of the module by name: what is not trusted builds nothing larger.

    Raises:
        ConfigurationError: If the class cannot be imported, or not be built from what was saved.

    """
    if factory is not None:
        module = import_any(factory)()
        if not isinstance(module, with_twin(LightningModule)):
            raise ConfigurationError(f"--factory {factory}: returned {type(module).__name__}, not a LightningModule")
        return module
    name = description["class"]
    kind = import_named(name, LightningModule, trust)
    arguments = _init_arguments(kind, description, trust)
    try:
        if not trust:
            _refuse_larger(kind, arguments, weights)
        module = kind(**arguments)
        if is_complete(description["hparams"]):  # those that were changed after __init__
            module.hparams.update(from_plain(description["hparams"], trust))
    except UnusableFileError as fault:
        raise ConfigurationError(f"{name}: the bundle {fault}; it is damaged, give another one") from None
    except Exception as error:  # an __init__ may raise anything
        raise ConfigurationError(
            f"{name}: cannot be built from its saved hyperparameters ({name_error(error)}); call save_hyperparameters()"
            " in its __init__, or pass --factory module:function that returns the module"
        ) from error
    return module


def _refuse_larger(kind: type, arguments: dict[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Build without memory first."""
    refuse_outsized(arguments, weights)
    with torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in kind(**arguments).parameters())
    if wanted > sum(weight.numel() for weight in weights.values()) + _SPARE:
        raise UnusableFileError("has settings of another size than its weights")


def build_layers(module: LightningModule, trainer: Trainer, needed: set[str]) -> list[str]:
    """Let a module build what it builds in ``setup`` and ``configure_model``, in Lightning's order.

    Args:
        module: The module.
        trainer: What it finds as its trainer.
        needed: Names of the parameters that it must have.

    Returns:
        A note for a hook that failed although nothing is missing.

    Raises:
        ConfigurationError: If parameters are missing because a hook failed.

    """
    module.trainer = trainer
    notes = []
    for hook, arguments in (("setup", ["fit"]), ("configure_model", [])):
        if not overrides_hook(module, hook):
            continue
        try:
            getattr(module, hook)(*arguments)
        except Exception as error:  # without the data of the run it may raise anything
            notes.append(f"{hook}({', '.join(map(repr, arguments))}) of the module failed ({name_error(error)})")
    missing = sorted(needed - {name for name, _ in module.named_parameters()})
    if notes and missing:
        raise ConfigurationError(
            f"{class_path(type(module))}: {'; '.join(notes)}, and so parameter {missing[0]} is missing; pass --factory"
            " module:function that returns the module with all layers"
        )
    return notes


def restore_modes(module: LightningModule, description: dict[str, Any]) -> None:
    """Put submodules into training or evaluation mode, and freeze parameters, as they were in the run."""
    evaluated, frozen = set(description["eval"]), set(description["frozen"])
    for name, part in module.named_modules():
        part.training = name not in evaluated
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)


def _init_arguments(kind: type, description: dict[str, Any], trust: bool) -> dict[str, Any]:
    """Hyperparameters as keyword arguments; those that ``__init__`` does not take are left out."""
    parameters = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    named = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    initial, argument = description["initial"], description["argument"]
    whole, takes_any = argument in named, any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    taken = [[key, value] for key, value in initial.get("items", []) if whole or takes_any or key in named]
    lost = [f"hyperparameter {key}" for key, value in taken if not is_complete([key, value])]
    if "items" not in initial:  # a configuration that could not be resolved
        lost = ["hyperparameters"]
    if lost:
        raise ConfigurationError(
            f"{description['class']}: its {lost[0]} could not be saved in the bundle; pass --factory module:function"
            " that returns the module"
        )
    if not whole:
        return {key: from_plain(value, trust) for key, value in taken}
    found = from_plain(initial, trust)
    return {argument: AttributeDict(found) if isinstance(found, dict) else found}
