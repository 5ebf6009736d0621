"""Steps of an optimizer that manual optimization takes past Lightning's wrapper."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from vestim_pl.errors import ConfigurationError

__all__ = ["RawSteps"]


class RawSteps:
    """Has a guard judge the steps of optimizers that Lightning does not see.

    ``self.optimizers(use_pl_optimizer=False)`` gives the bare optimizers, of whose steps no callback hears. Lightning
    hands a closure to every step that it takes itself, so a step without one is raw and can be judged when it begins.
    Not so under a gradient scaler, which steps without a closure too, and where a closure of the module's own computes
    the gradients within the step: those are refused.

    Example::

        >>> import torch
        >>> module = LightningModule()
        >>> module.weight, module.automatic_optimization = torch.nn.Parameter(torch.zeros(1)), False
        >>> trainer = Trainer(logger=False, enable_checkpointing=False)
        >>> trainer.optimizers = [torch.optim.SGD(module.parameters(), lr=0.1)]
        >>> steps = RawSteps()
        >>> steps.watch(trainer, module, judge=lambda optimizer: print("judged"), judged=lambda: True)
        >>> trainer.optimizers[0].step()
        judged
        >>> steps.release()
        >>> trainer.optimizers[0].step()

    """

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def watch(
        self,
        trainer: Trainer,
        module: LightningModule,
        judge: Callable[[Optimizer], object],
        judged: Callable[[], bool],
    ) -> None:
        """Begin, where the module optimizes manually.

        Args:
            trainer: Trainer that is about to fit.
            module: Its module.
            judge: Takes an optimizer whose gradients are complete and whose raw step begins.
            judged: Whether the gradients of the latest backward pass have been judged.

        Raises:
            ConfigurationError: If the module has optimizers that the trainer does not know, and in the first step that
                was not judged.

        """
        self.release()
        if module.automatic_optimization:
            return
        _require_optimizers(trainer, module)
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None

        def begins(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if not scaled and len(args) < 2 and kwargs.get("closure") is None:  # the first is the optimizer
                judge(optimizer)

        def ends(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if not judged():
                raise ConfigurationError(
                    f"StepGuard: {type(optimizer).__name__} was stepped past Lightning, under a gradient scaler or with"
                    " a closure of its own, where no step can be skipped; step what self.optimizers() returns"
                )

        for optimizer in trainer.optimizers:
            self._handles.append(optimizer.register_step_pre_hook(begins))
            self._handles.append(optimizer.register_step_post_hook(ends))

    def release(self) -> None:
        """Look no more."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _require_optimizers(trainer: Trainer, module: LightningModule) -> None:
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    owned = {id(parameter) for group in groups for parameter in group["params"]}
    if not any(id(parameter) in owned for parameter in module.parameters()):
        raise ConfigurationError(
            f"StepGuard: configure_optimizers of {type(module).__name__} returns no optimizer of its parameters, so"
            " there is no step to judge; return those that it steps, or leave the callback out"
        )
