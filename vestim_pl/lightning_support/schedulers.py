"""Build torch schedulers by name, in the form that Lightning expects."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.arguments import argument_types, check_arguments

__all__ = ["build_scheduler", "length_of", "refuse_other_epochs"]

Count = Callable[[], float]


def build_scheduler(
    optimizer: Optimizer, spec: Mapping[str, Any], training_steps: Count, epoch_steps: Count
) -> OptimizerLRScheduler:
    """Build the optimizer's scheduler from its name and options.

    What a checkpoint or a snapshot restores is the position in the schedule and the moments of the optimizer. All
    settings, such as the base rate, the weight decay and the length of the schedule, stay as they are built here, so a
    resumed training with other settings uses them; its rate is that of the new schedule at the position.

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
    _keep_options(optimizer, scheduled=bool(scheduler))
    return {"optimizer": optimizer, "lr_scheduler": scheduler} if scheduler else optimizer  # type: ignore[return-value]


def length_of(state: Mapping[str, Any]) -> int | None:
    """Read from a scheduler's state its length in optimizer steps; None for a schedule that counts epochs."""
    return state.get("T_max", state.get("T_0"))


def refuse_other_epochs(name: str, epoch: int, step: int, expected: int, epoch_steps: int) -> None:
    """Refuse to resume a schedule that counts steps where an epoch has another number of them now.

    Args:
        name: ``scheduler.name``.
        epoch: Epoch in which the training resumes.
        step: Optimizer steps so far.
        expected: Steps that this training would have made up to there.
        epoch_steps: Steps of an epoch now.

    Raises:
        ConfigurationError: If the numbers differ.

    """
    if step != expected:
        raise ConfigurationError(
            f"scheduler.name: {name} counts optimizer steps, an epoch has {epoch_steps} of them now, and the checkpoint"
            f" is at step {step} in epoch {epoch} instead of {expected}; resume with the recordings, sampling and"
            " trainer.accumulate_grad_batches of that run, or start a new training without ckpt_path"
        )


def _keep_options(optimizer: Optimizer, scheduled: bool) -> None:
    """Let an optimizer take moments from a state that it loads, but keep its options; a scheduler owns its rate."""
    owned = {"params", "lr"} if scheduled else {"params"}

    def with_own_options(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        own = [{key: value for key, value in group.items() if key not in owned} for group in optimizer.param_groups]
        groups = [group | options for group, options in zip(state["param_groups"], own, strict=False)]
        return state | {"param_groups": groups}

    optimizer.register_load_state_dict_pre_hook(with_own_options)


class _KeepsSettings(LRScheduler):
    """Takes from a state its position in the schedule, not the settings.

    With the settings of the state, the rate is that of the state, bit for bit. With others it is computed by torch's
    closed form.
    """

    settings: ClassVar[tuple[str, ...]]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = {name: vars(self)[name] for name in ("base_lrs", *self.settings)}
        super().load_state_dict(state_dict)
        if any(state_dict.get(name) != value for name, value in own.items()):
            vars(self).update(own)
            self._move_to(self.last_epoch)

    def _move_to(self, position: int) -> None:
        self._last_lr = self._get_closed_form_lr()  # type: ignore[attr-defined]  # private; tested with torch 2.13.0
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate


# Named like torch's: a snapshot holds the names of the classes that wrote it.
class StepLR(_KeepsSettings, lr_scheduler.StepLR):
    """torch's schedule, which resumes with its own settings."""

    settings = ("step_size", "gamma")


class CosineAnnealingLR(_KeepsSettings, lr_scheduler.CosineAnnealingLR):
    """torch's schedule, which resumes with its own settings."""

    settings = ("T_max", "eta_min")


class CosineAnnealingWarmRestarts(_KeepsSettings, lr_scheduler.CosineAnnealingWarmRestarts):
    """torch's schedule, which resumes with its own settings."""

    settings = ("T_0", "T_mult", "eta_min")

    def _move_to(self, position: int) -> None:
        self.step(position)


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
