"""Inject a NaN or an infinity into a training at a known place and step."""

import functools
from typing import Any, Literal

import torch
from torch import Tensor

from tests.which_lightning import Callback, LightningModule, Trainer

Site = Literal["input", "target", "activation", "loss", "gradient", "parameter"]

SITES: tuple[Site, ...] = ("input", "target", "activation", "loss", "gradient", "parameter")


class FaultInjector(Callback):
    """Overwrites one number at ``site`` in batch ``at`` of the training, or in every batch from there on.

    Args:
        site: ``input`` is the first number of the batch's first tensor, ``target`` the last of its second one; neither
            may be a view of the data set; ``activation`` is the output of the submodule named ``layer``; it and
            ``loss`` are multiplied by the value, so that their gradients are non-finite too; ``gradient`` is written
            after backward, as a scaler finds it; ``parameter`` is written before the forward pass, and stays.
        value: NaN, infinity or minus infinity.
        at: Batch of the training, from 0.
        persistent: Whether every batch from there on is affected too.
        layer: Submodule for ``activation``.
        rank: Rank to inject it on; all ranks if None.

    """

    def __init__(
        self,
        site: Site,
        value: float,
        at: int,
        persistent: bool = False,
        layer: str = "head",
        rank: int | None = None,
    ) -> None:
        self.site, self.value, self.at, self.persistent, self.layer, self.rank = (
            site,
            value,
            at,
            persistent,
            layer,
            rank,
        )
        self.seen = -1
        self.active = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.site == "activation":
            pl_module.get_submodule(self.layer).register_forward_hook(self._corrupt_output)
        if self.site == "loss":
            original = pl_module.training_step

            @functools.wraps(original)
            def training_step(*args: Any, **kwargs: Any) -> Any:
                loss = original(*args, **kwargs)
                return loss * self.value if self.active else loss

            pl_module.training_step = training_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.seen += 1
        due = self.seen >= self.at if self.persistent else self.seen == self.at
        self.active = due and self.rank in (None, trainer.global_rank)
        if not self.active:
            return
        if self.site == "parameter":
            self._corrupt(next(pl_module.parameters()).data)
        elif self.site in ("input", "target"):
            self._corrupt(batch[0]) if self.site == "input" else self._corrupt(batch[1], last=True)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.active and self.site == "gradient":
            self._corrupt(next(p.grad for p in pl_module.parameters() if p.grad is not None))

    def on_train_batch_end(self, *args: Any) -> None:
        self.active = False

    def _corrupt(self, tensor: Tensor, last: bool = False) -> None:
        tensor[(-1 if last else 0,) * tensor.ndim] = self.value

    def _corrupt_output(self, module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if not (self.active and module.training):
            return None
        factor = torch.ones_like(output)
        self._corrupt(factor)
        return output * factor

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"]
