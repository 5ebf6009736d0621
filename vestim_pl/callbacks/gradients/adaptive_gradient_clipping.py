"""Clip the gradient by a limit that follows its own norm."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_
from torch.optim import Optimizer

from vestim_pl.callbacks.gradients.zclip import (
    ClippingReaction,
    NormStatistics,
    clipping_limit,
    initial_statistics,
    update_statistics,
)
from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.finiteness import joint_norm, total_norm
from vestim_pl.functional.gradient_scaling import scale_to_limit
from vestim_pl.lightning_support.callback_order import gradient_norm_before
from vestim_pl.lightning_support.gradient_access import require_plain_gradients
from vestim_pl.lightning_support.log_steps import is_logged_step

__all__ = ["AdaptiveGradientClipping"]


class AdaptiveGradientClipping(Callback):
    """Clips only gradients whose norm stands out from the run's own, instead of at one constant for the whole run.

    A constant threshold is right for one phase of training: norms fall by orders of magnitude, so what only cut spikes
    at the end is a step-size limiter at the start. Here the limit comes from running mean and standard deviation of
    the norm (ZClip, Kumar et al. 2025, arXiv 2504.02507), with three changes: a non-finite norm never enters the
    statistics and its gradient is left as it is (scaling by it would make every gradient NaN); norms that grow for good
    are followed (see `update_statistics`); and the statistics are in the
    checkpoint, so a resumed run equals one never stopped.

    On a GPU everything stays there, without a host sync of its own; it is arithmetic of floats on CPU, and behind a
    StepGuard, which has read the norm. Under DDP the gradients, hence the limits, are the same on every rank. Several
    optimizers, with manual optimization, each have their own statistics. Parameters without a gradient are passed over,
    and nothing happens where there is none at all (a skipped update).

    ======================================= =========================================================================
    logged key                              meaning
    ======================================= =========================================================================
    ``adaptive_clipping/norm``              global L2 norm before clipping
    ``adaptive_clipping/limit``             norm from which this step would have been clipped
    ``adaptive_clipping/z_score``           standard deviations above the running mean
    ``adaptive_clipping/clipped_fraction``  part of the steps since the last log that were clipped, 0..1
    ======================================= =========================================================================

    All are logged at the trainer's ``log_every_n_steps``.

    Args:
        z_threshold: Standard deviations above the running mean from which a norm is clipped.
        alpha: Smoothing of the running statistics; they remember about ``1 / (1 - alpha)`` steps.
        warmup_steps: Steps from which the first statistics are taken; nothing but ``max_norm`` clips before.
        reaction: What an outlier is clipped to, see `ClippingReaction`.
        max_norm: Constant upper bound on top, from the first step on; None for none. Use this instead of
            ``trainer.gradient_clip_val``.

    Raises:
        ConfigurationError: If an argument is out of range; if ``trainer.gradient_clip_val`` is set as well (it would
            clip a second time, by another rule); for a fused optimizer under a gradient scaler and for sharded
            strategies, where no hook sees the gradient.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> clipping = AdaptiveGradientClipping(z_threshold=2.5, warmup_steps=10)
        >>> trainer = Trainer(max_steps=20, callbacks=[clipping], logger=False, enable_checkpointing=False,
        ...                   enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
        >>> trainer.fit(BoringModel())
        >>> clipping.statistics[0].seen
        20.0

    """

    def __init__(
        self,
        z_threshold: float = 2.5,
        alpha: float = 0.97,
        warmup_steps: int = 25,
        reaction: str = "reciprocal",
        max_norm: float | None = None,
    ) -> None:
        name = type(self).__name__
        if not z_threshold > 0:
            raise ConfigurationError(f"{name}.z_threshold: {z_threshold} must be positive; the paper uses 2.5")
        if not 0 < alpha < 1:
            raise ConfigurationError(f"{name}.alpha: {alpha} must lie between 0 and 1; the paper uses 0.97")
        if warmup_steps < 2:
            raise ConfigurationError(f"{name}.warmup_steps: {warmup_steps} gives no variance; choose at least 2")
        if max_norm is not None and not max_norm > 0:
            raise ConfigurationError(f"{name}.max_norm: {max_norm} must be positive, or null for no bound")
        if reaction not in list(ClippingReaction):
            raise ConfigurationError(f"{name}.reaction: {reaction!r} is not one of {', '.join(ClippingReaction)}")
        self.z_threshold = z_threshold
        self.alpha = alpha
        self.warmup_steps = warmup_steps
        self.reaction = ClippingReaction(reaction)
        self.max_norm = max_norm
        self.statistics: dict[int, NormStatistics] = {}
        self._clipped: dict[int, tuple[Any, int]] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.gradient_clip_val:
            raise ConfigurationError(
                f"trainer.gradient_clip_val: {trainer.gradient_clip_val} would clip a second time after"
                f" AdaptiveGradientClipping; set it to null and, for an upper bound, the callback's"
                f" max_norm={trainer.gradient_clip_val}"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_plain_gradients(trainer, type(self).__name__)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        gradients = [g for group in optimizer.param_groups for p in group["params"] if (g := p.grad) is not None]
        if not gradients:
            return
        index = trainer.optimizers.index(optimizer)  # which a resumed run shares
        norm: Any = gradient_norm_before(trainer, self)
        if norm is None:
            norm = joint_norm(gradients) if gradients[0].is_cpu else total_norm(gradients)
        statistics = (self.statistics.get(index) or initial_statistics()).like(norm)
        limit, z = clipping_limit(
            statistics, norm, z_threshold=self.z_threshold, warmup_steps=self.warmup_steps, reaction=self.reaction
        )
        if self.max_norm is not None:
            limit = limit.clamp(max=self.max_norm) if isinstance(limit, Tensor) else min(limit, self.max_norm)
        clipped = _clip(optimizer, gradients, norm, limit)
        self.statistics[index] = update_statistics(
            statistics, norm, alpha=self.alpha, z_threshold=self.z_threshold, warmup_steps=self.warmup_steps
        )
        count, steps = self._clipped.get(index, (0.0, 0))
        self._clipped[index] = (count + clipped, steps + 1)
        if is_logged_step(trainer):
            self._log(pl_module, index, norm, self._shown_limit(statistics), z)

    def state_dict(self) -> dict[str, Any]:
        return {
            "statistics": {index: [float(value) for value in values] for index, values in self.statistics.items()},
            "clipped": {index: [float(count), steps] for index, (count, steps) in self._clipped.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        statistics = state_dict.get("statistics", {})
        self.statistics = {index: NormStatistics(*values) for index, values in statistics.items()}
        self._clipped = {index: (count, steps) for index, (count, steps) in state_dict.get("clipped", {}).items()}

    def _shown_limit(self, statistics: NormStatistics) -> Tensor | float:
        """Norm from which a step is clipped: the threshold, whatever the reaction to passing it."""
        most = statistics.mean * 0.0 + torch.finfo(torch.float32).max
        limit, _ = clipping_limit(
            statistics,
            most,
            z_threshold=self.z_threshold,
            warmup_steps=self.warmup_steps,
            reaction=ClippingReaction.THRESHOLD,
        )
        bound = math.inf if self.max_norm is None else self.max_norm
        return limit.clamp(max=bound) if isinstance(limit, Tensor) else min(limit, bound)

    def _log(self, pl_module: LightningModule, index: int, norm: Any, limit: Any, z: Any) -> None:
        clipped, steps = self._clipped.pop(index)
        suffix = f"/optimizer_{index}" if index else ""
        values = {"norm": norm, "limit": limit, "z_score": z, "clipped_fraction": clipped / steps}
        pl_module.log_dict({f"adaptive_clipping/{name}{suffix}": value for name, value in values.items()})


def _clip(optimizer: Optimizer, gradients: list[Tensor], norm: Any, limit: Any) -> Any:
    """Scale the gradients down to the limit where their norm is above it, as torch does it; returns whether, 1 or 0.

    A norm that is not finite changes nothing.
    """
    if not isinstance(norm, Tensor):
        return scale_to_limit(gradients, norm, limit)
    finite = torch.isfinite(norm)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    # in units of the limit, which torch would read from the device; a norm of 0 stands for one that is not finite: the
    # factor is then 1, and the gradient stays as it is
    clip_grads_with_norm_(parameters, 1.0, torch.where(finite, norm / limit, 0.0))
    return (finite & (norm > limit)).float()
