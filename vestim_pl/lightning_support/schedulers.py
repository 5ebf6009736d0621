"""Build torch schedulers by name, in the form that Lightning expects."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts, StepLR

from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.arguments import argument_types, check_arguments

__all__ = ["build_scheduler", "refuse_another_length"]

Count = Callable[[], float]


def build_scheduler(
    optimizer: Optimizer, spec: Mapping[str, Any], training_steps: Count, epoch_steps: Count
) -> OptimizerLRScheduler:
    """Build the optimizer's scheduler from its name and options.

    Warmup, plateau and recovery are factors of callbacks, multiplied into the rate that the scheduler sets. A cut on a
    plateau has no name here, because torch's ReduceLROnPlateau cannot share the rate with a scheduler;
    `PlateauLearningRate` is a factor instead.

    ========================  =======================================================================================
    name                      learning rate
    ========================  =======================================================================================
    ``none``                  constant
    ``step``                  multiplied by ``factor`` every ``period`` epochs (torch's StepLR)
    ``cosine``                falls every step from the base rate to ``min_factor`` times the base rate at the end of
                              training (Loshchilov & Hutter 2017, without restarts)
    ``cosine_warm_restarts``  falls every step from the base rate to ``eta_min`` within ``t0`` epochs, then restarts
                              at the base rate; each cycle is ``t_mult`` times as long as the previous one
                              (Loshchilov & Hutter 2017)
    ========================  =======================================================================================

    Args:
        optimizer: Optimizer with its base rate.
        spec: ``name`` and options.
        training_steps: Returns the optimizer steps of the training; called for ``cosine`` only.
        epoch_steps: Returns the optimizer steps of an epoch; called for ``cosine_warm_restarts`` only.

    Raises:
        ConfigurationError: If the name or an option is unknown, an option is out of range, or the length of the
            training is needed but unknown.

    Example::

        >>> import torch
        >>> adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.01)
        >>> built = build_scheduler(adam, {"name": "step", "period": 2, "factor": 0.5}, lambda: 100, lambda: 10)
        >>> rates = []
        >>> for epoch in range(6):
        ...     rates.append(adam.param_groups[0]["lr"])
        ...     adam.step()
        ...     built["lr_scheduler"]["scheduler"].step()
        >>> rates
        [0.01, 0.01, 0.005, 0.005, 0.0025, 0.0025]

    """
    options = dict(spec)
    name = options.pop("name", "none")
    if name not in _BUILDERS:
        raise ConfigurationError(
            f"scheduler.name: {name!r} is unknown; choose one of {', '.join(_BUILDERS)}; for a cut on a plateau use the"
            " callback PlateauLearningRate, on the command line scheduler=plateau"
        )
    builder, count = _BUILDERS[name], epoch_steps if name == "cosine_warm_restarts" else training_steps
    keywords = [p.name for p in inspect.signature(builder).parameters.values() if p.kind is p.KEYWORD_ONLY]
    types = argument_types(builder)
    check_arguments("scheduler", options, {key: types[key] for key in keywords})
    scheduler = builder(optimizer, count, **options)
    return {"optimizer": optimizer, "lr_scheduler": scheduler} if scheduler else optimizer  # type: ignore[return-value]


def refuse_another_length(scheduler: object, training_steps: Count) -> None:
    """Refuse a cosine schedule from a checkpoint of a training with another length.

    Torch loads the length of the schedule from the checkpoint, and after its end the cosine rises again.

    Args:
        scheduler: A scheduler with loaded state.
        training_steps: Returns the optimizer steps of the whole training; called for a cosine only.

    Raises:
        ConfigurationError: If the lengths differ.

    """
    if isinstance(scheduler, CosineAnnealingLR) and scheduler.T_max != (steps := training_steps()):
        raise ConfigurationError(
            f"trainer.max_epochs: the cosine schedule of the checkpoint ends after {scheduler.T_max} steps, this"
            f" training after {steps:g}; resume with the original trainer.max_epochs and trainer.max_steps, or start a"
            " new training"
        )


def _none(optimizer: Optimizer, steps: Count) -> dict[str, Any]:
    return {}


def _step(optimizer: Optimizer, steps: Count, *, period: int = 30, factor: float = 0.1) -> dict[str, Any]:
    _at_least_one("period", period)
    if not 0 < factor <= 1:
        raise ConfigurationError(f"scheduler.factor: {factor} is not in (0, 1]; choose for example 0.5")
    return {"scheduler": StepLR(optimizer, step_size=period, gamma=factor), "interval": "epoch"}


def _cosine(optimizer: Optimizer, steps: Count, *, min_factor: float = 0.0) -> dict[str, Any]:
    if not 0 <= min_factor <= 1:
        raise ConfigurationError(f"scheduler.min_factor: {min_factor} is not in [0, 1]; choose for example 0.01")
    total = steps()
    if not math.isfinite(total) or total < 1:
        raise ConfigurationError(
            "scheduler.name: cosine needs to know the length of the training; set trainer.max_epochs or"
            " trainer.max_steps"
        )
    lowest = min_factor * max(group["lr"] for group in optimizer.param_groups)
    return {"scheduler": CosineAnnealingLR(optimizer, T_max=int(total), eta_min=lowest), "interval": "step"}


def _cosine_warm_restarts(
    optimizer: Optimizer, steps: Count, *, t0: int = 10, t_mult: int = 1, eta_min: float = 0.0
) -> dict[str, Any]:
    _at_least_one("t0", t0)
    _at_least_one("t_mult", t_mult)
    base = min(float(group["lr"]) for group in optimizer.param_groups)
    if not 0 <= eta_min < base:
        raise ConfigurationError(
            f"scheduler.eta_min: {eta_min} is not between 0 and the learning rate, {base:g}; choose for example"
            f" {base / 100:g}"
        )
    epoch = steps()
    if not math.isfinite(epoch) or epoch < 1:
        raise ConfigurationError(
            "scheduler.name: cosine_warm_restarts needs to know the number of steps per epoch; set trainer.max_epochs"
        )
    scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=t0 * int(epoch), T_mult=t_mult, eta_min=eta_min)
    return {"scheduler": scheduler, "interval": "step"}


def _at_least_one(option: str, value: int) -> None:
    if value < 1:
        raise ConfigurationError(f"scheduler.{option}: {value} is too small; choose an integer of at least 1")


_BUILDERS: dict[str, Callable[..., dict[str, Any]]] = {
    "none": _none,
    "step": _step,
    "cosine": _cosine,
    "cosine_warm_restarts": _cosine_warm_restarts,
}
