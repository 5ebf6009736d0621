"""Torch schedulers by name, as Lightning wants them."""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from vestim_pl.functional.errors import ConfigurationError

__all__ = ["build_scheduler"]


def build_scheduler(
    optimizer: Optimizer, spec: Mapping[str, Any], training_steps: Callable[[], float]
) -> OptimizerLRScheduler:
    """Optimizer with the scheduler of that name.

    ``none`` leaves the rate constant (warmup, plateau and recovery are factors of callbacks and compose with any of
    these). ``cosine`` anneals every step from the base rate to ``min_factor`` times it over the whole training
    (Loshchilov & Hutter 2017, without restarts). A cut on a plateau is not among them: torch's needs the optimizer's
    rate for itself, :class:`vestim_pl.callbacks.PlateauLearningRate` does it as a factor.

    Args:
        optimizer: The optimizer.
        spec: ``name`` and options: ``min_factor`` for cosine.
        training_steps: Gives the number of optimizer steps of the whole training; asked by ``cosine`` only.

    Raises:
        ConfigurationError: If the name or an option is unknown, or the length of the training is not known.

    Example::

        >>> import torch
        >>> adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.01)
        >>> build_scheduler(adam, {"name": "cosine"}, lambda: 100)["lr_scheduler"]["interval"]
        'step'

    """
    options = dict(spec)
    name = options.pop("name", "none")
    builders: dict[str, Callable[..., dict[str, Any]]] = {"none": _none, "cosine": _cosine}
    if name not in builders:
        raise ConfigurationError(
            f"scheduler.name: {name!r} is unknown; choose one of {', '.join(builders)}; a cut on a plateau is the"
            " callback PlateauLearningRate, on the command line scheduler=plateau"
        )
    try:
        scheduler = builders[name](optimizer, training_steps, **options)
    except TypeError as error:
        raise ConfigurationError(f"scheduler: {error}; remove the option or choose another scheduler.name") from error
    return {"optimizer": optimizer, "lr_scheduler": scheduler} if scheduler else optimizer  # type: ignore[return-value]


def _none(optimizer: Optimizer, training_steps: Callable[[], float]) -> dict[str, Any]:
    return {}


def _cosine(optimizer: Optimizer, training_steps: Callable[[], float], *, min_factor: float = 0.0) -> dict[str, Any]:
    steps = training_steps()
    if steps == float("inf") or steps < 1:
        raise ConfigurationError(
            "scheduler.name: cosine needs to know how long training lasts; set trainer.max_epochs or trainer.max_steps"
        )
    lowest = min_factor * max(group["lr"] for group in optimizer.param_groups)
    return {"scheduler": CosineAnnealingLR(optimizer, T_max=int(steps), eta_min=lowest), "interval": "step"}
