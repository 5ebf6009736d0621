"""The learning rate as a product: base x warmup x plateau x recovery, applied in one place."""

import math
from typing import Any
from weakref import WeakKeyDictionary

from lightning.pytorch import LightningModule, Trainer
from torch.optim import Optimizer

from vestim_pl.errors import ConfigurationError

__all__ = ["LearningRateFactors", "log_learning_rate"]


class LearningRateFactors:
    """Named factors on the learning rate of a trainer's optimizers, applied around each optimizer step.

    Each callback owns one factor and sets only that; whoever comes first installs the optimizer hooks. The product is
    multiplied into ``param_group["lr"]`` right before the update and taken out right after, so at rest a group holds
    the *scheduled* rate. Hence the factors compose in any order, and with any torch scheduler of the module, which
    never sees them; a checkpoint holds the scheduled rate, even one written in the midst of a step, and the factors
    stay with their callbacks.

    Lightning's ``LearningRateMonitor`` reads the groups at rest and therefore shows the scheduled rate; the rate that
    the updates really used is `used`, which `log_learning_rate` logs as ``learning_rate``.

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
        self._product: float | None = None  # of them; None where one has changed since
        self._rates: WeakKeyDictionary[Optimizer, _Rates] = WeakKeyDictionary()

    @classmethod
    def of(cls, trainer: Trainer) -> "LearningRateFactors":
        """The factors of this trainer, created on first ask."""
        factors = cls._of_trainer.get(trainer)
        if factors is None:
            factors = cls._of_trainer[trainer] = cls()
        return factors

    @property
    def product(self) -> float:
        """Product of all factors, 1 without any.

        Multiplied in order of the names, so that rounding never depends on which callback came first.
        """
        if self._product is None:
            self._product = math.prod(self._factors[name] for name in sorted(self._factors))
        return self._product

    def get(self, name: str) -> float:
        """Factor of that name; 1 if it was never set."""
        return self._factors.get(name, 1.0)

    def product_without(self, name: str) -> float:
        """Product of all factors but that one."""
        return math.prod(self._factors[other] for other in sorted(self._factors) if other != name)

    def set(self, name: str, factor: float) -> None:
        """Set the factor of that name.

        Raises:
            ValueError: If ``factor`` is negative or not finite.

        """
        if not (math.isfinite(factor) and factor >= 0):
            raise ValueError(f"learning rate factor {name!r} must be finite and not negative but is {factor}")
        if factor != self._factors.get(name):
            self._factors[name] = float(factor)
            self._product = None

    def discard(self, name: str) -> None:
        """Forget the factor of that name, as its callback does when the fit has ended."""
        self._factors.pop(name, None)
        self._product = None

    def attach(self, trainer: Trainer) -> None:
        """Install the step hooks on the trainer's optimizers; a second call changes nothing.

        Raises:
            ConfigurationError: If an optimizer is not a ``torch.optim.Optimizer``, and so has no step hooks.

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
        """Learning rate of each parameter group as the next update will use it (or the one under way uses it)."""
        return [float(rate) * self.product for rate in self.scheduled(optimizer)]

    def scheduled(self, optimizer: Optimizer) -> list[float]:
        """Learning rate of each parameter group without the factors."""
        rates = self._rates.get(optimizer)
        under_way = rates.scheduled if rates else None
        return [float(rate) for rate in under_way or _rates_of(optimizer)]

    def used(self, optimizer: Optimizer) -> list[float]:
        """Learning rate of each parameter group in the latest update; in the next, before any and after a rollback."""
        rates = self._rates.get(optimizer)
        if rates is None or rates.used is None:
            return self.effective(optimizer)
        return [float(rate) for rate in rates.used]

    def restore(self, optimizers: list[Optimizer]) -> None:
        """Put the scheduled rates back where a step was left by an exception."""
        for optimizer in optimizers:
            if optimizer in self._rates:
                self._rates[optimizer].after_step(optimizer)


class _Rates:
    """Learning rates of one optimizer, and what is done to them around its steps.

    Attributes:
        scheduled: Rates of an update under way, before the factors; None at rest. Tensors stay tensors: no step waits
            for a device.
        used: Rates of the latest update; None before any, and after a rollback.

    """

    def __init__(self, factors: LearningRateFactors) -> None:
        self._factors = factors
        self.scheduled: list[Any] | None = None
        self.used: list[Any] | None = None

    def before_step(self, optimizer: Optimizer, *_: object) -> None:
        self.after_step(optimizer)  # an earlier step may have been left by an exception
        self._apply(optimizer)

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
        if self.scheduled is not None:  # loaded in the midst of a step, by a rollback: the loaded rates count now
            self._apply(optimizer)
        else:  # the latest update is none of those in the loaded weights
            self.used = None


def _rates_of(optimizer: Optimizer) -> list[Any]:
    return [group["lr"] for group in optimizer.param_groups]


def _set_rates(groups: list[dict[str, Any]], rates: list[Any]) -> None:
    for group, rate in zip(groups, rates, strict=False):
        group["lr"] = rate


def log_learning_rate(trainer: Trainer, pl_module: LightningModule) -> None:
    """Log the learning rate that the latest update really used; call it in ``on_train_batch_end``.

    Several callbacks may log it: they log the same values. On steps that Lightning does not log it costs nothing.

    =====================  =====================================================================================
    Key                    Meaning
    =====================  =====================================================================================
    ``learning_rate``      rate of the first parameter group: scheduled rate x all factors
    ``learning_rate/<i>``  the same of the further groups, counted through all optimizers, where there are several
    =====================  =====================================================================================

    """
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]
    steps = trainer.global_step // max(1, len(trainer.optimizers))  # Lightning counts the steps of every optimizer
    if not every or steps % every:
        return
    factors = LearningRateFactors.of(trainer)
    rates = [rate for optimizer in trainer.optimizers for rate in factors.used(optimizer)]
    for index, rate in enumerate(rates):
        pl_module.log(
            f"learning_rate/{index}" if index else "learning_rate", rate, on_step=True, on_epoch=False, batch_size=1
        )
