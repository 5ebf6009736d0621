"""The learning rate as a product: base x warmup x plateau x recovery, applied in one place."""

import math
from weakref import WeakKeyDictionary

from lightning.pytorch import Trainer
from torch.optim import Optimizer

__all__ = ["LearningRateFactors"]


class LearningRateFactors:
    """Named factors on the learning rate of a trainer's optimizers, applied around each optimizer step.

    Each callback owns one factor and sets only that; whoever comes first installs the optimizer hooks. The product is
    multiplied into ``param_group["lr"]`` right before the update and taken out right after, so at rest a group holds
    the *scheduled* rate. Hence the factors compose in any order, and with any torch scheduler of the module, which
    never sees them; a checkpoint holds the scheduled rate, and the factors stay with their callbacks.

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
        self._scheduled: dict[int, list[float]] = {}
        self._attached: set[int] = set()

    @classmethod
    def of(cls, trainer: Trainer) -> "LearningRateFactors":
        """The factors of this trainer, created on first ask."""
        if trainer not in cls._of_trainer:
            cls._of_trainer[trainer] = cls()
        return cls._of_trainer[trainer]

    @property
    def product(self) -> float:
        """Product of all factors; 1 without any."""
        return math.prod(self._factors.values())

    def get(self, name: str) -> float:
        """Factor of that name; 1 if it was never set."""
        return self._factors.get(name, 1.0)

    def set(self, name: str, factor: float) -> None:
        """Set the factor of that name.

        Raises:
            ValueError: If ``factor`` is negative or not finite.

        """
        if not (math.isfinite(factor) and factor >= 0):
            raise ValueError(f"learning rate factor {name!r} must be finite and not negative but is {factor}")
        self._factors[name] = float(factor)

    def attach(self, trainer: Trainer) -> None:
        """Install the step hooks on the trainer's optimizers; a second call changes nothing."""
        for optimizer in trainer.optimizers:
            if id(optimizer) not in self._attached:
                optimizer.register_step_pre_hook(self._before_step)
                optimizer.register_step_post_hook(self._after_step)
                self._attached.add(id(optimizer))

    def effective(self, optimizer: Optimizer) -> list[float]:
        """Learning rate of each parameter group as the next update will use it."""
        scheduled = self._scheduled.get(id(optimizer)) or [float(group["lr"]) for group in optimizer.param_groups]
        return [rate * self.product for rate in scheduled]

    def restore(self, optimizers: list[Optimizer]) -> None:
        """Put the scheduled rates back where a step was left by an exception."""
        for optimizer in optimizers:
            self._after_step(optimizer, (), {})

    def _before_step(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        if id(optimizer) in self._scheduled:  # an earlier step was left by an exception
            self._after_step(optimizer, args, kwargs)
        self._scheduled[id(optimizer)] = [group["lr"] for group in optimizer.param_groups]
        product = self.product
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * product

    def _after_step(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        for group, rate in zip(optimizer.param_groups, self._scheduled.pop(id(optimizer), []), strict=False):
            group["lr"] = rate
