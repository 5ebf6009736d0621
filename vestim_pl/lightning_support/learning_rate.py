"""Compute the learning rate as a product (base x warmup x plateau x recovery), applied in one place."""

import math
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from lightning.pytorch import LightningModule, Trainer
from torch.optim import Optimizer

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.loop_progress import steps_so_far

__all__ = ["LearningRateFactors", "log_learning_rate"]


class LearningRateFactors:
    """Named factors of the learning rate of a trainer's optimizers, applied around each optimizer step.

    Each callback owns and sets one factor; the first one installs the optimizer hooks. The product is multiplied into
    ``param_group["lr"]`` right before the update and taken out right after it. Between updates, and while the step's
    closure computes the loss, a group holds the *scheduled* rate; a rate that the module sets there is the new one. The
    factors therefore combine in any order and with any torch scheduler, which never sees them. A checkpoint holds the
    scheduled rate, even if an exception has ended a step; the factors are saved by their callbacks.

    Lightning's ``LearningRateMonitor`` reads the groups between updates and shows the scheduled rate. The rate of the
    update is `used`, which `log_learning_rate` logs as ``learning_rate``.

    Example::

        >>> factors = LearningRateFactors()
        >>> factors.set("warmup", 0.5)
        >>> factors.set("plateau", 0.1)
        >>> factors.product
        0.05

    """

    _of_trainer: "WeakKeyDictionary[Trainer, LearningRateFactors]" = WeakKeyDictionary()

    def __init__(self) -> None:
        self._factors: dict[str, float] = {}
        self._product: float | None = None  # None if a factor has changed since it was computed
        self._rates: WeakKeyDictionary[Optimizer, _Rates] = WeakKeyDictionary()

    @classmethod
    def of(cls, trainer: Trainer) -> "LearningRateFactors":
        """Return the factors of this trainer, created with the first call."""
        factors = cls._of_trainer.get(trainer)
        if factors is None:
            factors = cls._of_trainer[trainer] = cls()
        return factors

    @property
    def product(self) -> float:
        """Product of all factors, multiplied in order of their names so that rounding does not depend on callbacks."""
        if self._product is None:
            self._product = math.prod(self._factors[name] for name in sorted(self._factors))
        return self._product

    def get(self, name: str) -> float:
        """The factor of that name; 1 if it was never set."""
        return self._factors.get(name, 1.0)

    def product_without(self, name: str) -> float:
        return math.prod(self._factors[other] for other in sorted(self._factors) if other != name)

    def set(self, name: str, factor: float) -> None:
        if not (math.isfinite(factor) and factor >= 0):
            raise ValueError(f"learning rate factor {name!r} must be finite and not negative but is {factor}")
        if factor != self._factors.get(name):
            self._factors[name] = float(factor)
            self._product = None

    def discard(self, name: str) -> None:
        """Remove a factor, as its callback does at the end of the fit."""
        self._factors.pop(name, None)
        self._product = None

    def attach(self, trainer: Trainer) -> None:
        """Install the step hooks on the trainer's optimizers; a second call does nothing.

        Raises:
            ConfigurationError: If an optimizer is not a ``torch.optim.Optimizer`` and thus has no step hooks.

        """
        for optimizer in trainer.optimizers:
            if not isinstance(optimizer, Optimizer):
                raise ConfigurationError(
                    f"optimizer {type(optimizer).__name__} is not a torch.optim.Optimizer, so the learning rate "
                    "factors (warmup, plateau, recovery) cannot hook its step; derive it from torch.optim.Optimizer"
                )
            if optimizer not in self._rates:
                rates = self._rates[optimizer] = _Rates(self)
                optimizer.register_step_pre_hook(rates.before_step)
                optimizer.register_step_post_hook(rates.after_step)
                optimizer.register_state_dict_post_hook(rates.save_scheduled)
                optimizer.register_load_state_dict_post_hook(rates.after_load)

    def effective(self, optimizer: Optimizer) -> list[float]:
        """Return the learning rate of each parameter group in the current update, or else in the next."""
        return [float(rate) * self.product for rate in self.scheduled(optimizer)]

    def scheduled(self, optimizer: Optimizer) -> list[float]:
        """Return the learning rate of each parameter group without the factors."""
        rates = self._rates.get(optimizer)
        during_step = rates.scheduled if rates else None
        return [float(rate) for rate in during_step or _rates_of(optimizer)]

    def used(self, optimizer: Optimizer) -> list[float]:
        """Return the learning rate of each parameter group in the latest update; after a rollback, in the next."""
        rates = self._rates.get(optimizer)
        if rates is None or rates.used is None:
            return self.effective(optimizer)
        return [float(rate) for rate in rates.used]

    def restore(self, optimizers: list[Optimizer]) -> None:
        """Restore the scheduled rates after an exception within a step."""
        for optimizer in optimizers:
            if optimizer in self._rates:
                self._rates[optimizer].after_step(optimizer)


class _Rates:
    """Applies the factors around the steps of one optimizer.

    Attributes:
        scheduled: Rates of the current update without the factors; None between updates. Tensors stay tensors, so that
            no step waits for a device.
        used: Rates of the latest update; None before the first and after a rollback.

    """

    def __init__(self, factors: LearningRateFactors) -> None:
        self._factors = factors
        self.scheduled: list[Any] | None = None
        self.used: list[Any] | None = None

    def before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Apply the factors, and have the closure run at the scheduled rates.

        A module may set a rate in ``training_step`` or in a hook of its backward pass, which run within the closure.
        Such a rate is the new scheduled one.
        """
        self.after_step(optimizer)  # an exception may have ended the step before
        self._apply(optimizer)
        if callable(closure := kwargs.get("closure")):
            return args, kwargs | {"closure": self._at_scheduled_rates(optimizer, closure)}
        if len(args) > 1 and callable(args[1]):  # the first is the optimizer
            return (args[0], self._at_scheduled_rates(optimizer, args[1]), *args[2:]), kwargs
        return None

    def _at_scheduled_rates(self, optimizer: Optimizer, closure: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            self.after_step(optimizer)
            result = closure()
            self._apply(optimizer)
            return result

        return run

    def _apply(self, optimizer: Optimizer) -> None:
        product, self.scheduled = self._factors.product, _rates_of(optimizer)
        self.used = [rate * product for rate in self.scheduled]
        _set_rates(optimizer.param_groups, self.used)

    def after_step(self, optimizer: Optimizer, *_: object) -> None:
        if self.scheduled is not None:
            _set_rates(optimizer.param_groups, self.scheduled)
            self.scheduled = None

    def save_scheduled(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        if self.scheduled is not None:
            _set_rates(state["param_groups"], self.scheduled)

    def after_load(self, optimizer: Optimizer) -> None:
        self.used = None  # the latest update is not in the loaded weights


def _rates_of(optimizer: Optimizer) -> list[Any]:
    return [group["lr"] for group in optimizer.param_groups]


def _set_rates(groups: list[dict[str, Any]], rates: list[Any]) -> None:
    for group, rate in zip(groups, rates, strict=False):
        group["lr"] = rate


def log_learning_rate(trainer: Trainer, pl_module: LightningModule) -> None:
    """Log the learning rate of the latest update; call it in ``on_train_batch_end``.

    Several callbacks may call it, since they log the same values. Steps that Lightning does not log cost nothing.

    =====================  ================================================================================
    Key                    Meaning
    =====================  ================================================================================
    ``learning_rate``      rate of the first parameter group: scheduled rate x all factors
    ``learning_rate/<i>``  the same for further parameter groups, numbered through all optimizers
    =====================  ================================================================================

    """
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]
    if not every or steps_so_far(trainer) % every:
        return
    factors = LearningRateFactors.of(trainer)
    rates = [rate for optimizer in trainer.optimizers for rate in factors.used(optimizer)]
    for index, rate in enumerate(rates):
        pl_module.log(
            f"learning_rate/{index}" if index else "learning_rate", rate, on_step=True, on_epoch=False, batch_size=1
        )
