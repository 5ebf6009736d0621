"""Clip the gradient to a limit that follows its own norm."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_
from torch.optim import Optimizer

from vestim_pl.callbacks.gradients.zclip import (
    ClippingReaction,
    NormStatistics,
    at_most,
    clipping_limit,
    outlier_threshold,
    update_statistics,
)
from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.finiteness import joint_norm, total_norm
from vestim_pl.functional.gradient_scaling import scale_to_limit
from vestim_pl.lightning_support.callback_order import gradient_norm_before
from vestim_pl.lightning_support.gradient_access import require_plain_gradients
from vestim_pl.lightning_support.loop_progress import begins_training, is_logged_step
from vestim_pl.lightning_support.step_finiteness import gradient_tensors

__all__ = ["AdaptiveGradientClipping"]


class AdaptiveGradientClipping(Callback):
    """Clip only gradients whose norm is an outlier in this run, instead of using one constant threshold.

    A constant threshold fits one phase of training only. Norms fall by orders of magnitude, so a threshold that cuts
    just the spikes late in training limits every step at the start. Here the limit follows from the running mean and
    standard deviation of the norm (ZClip, Kumar et al. 2025, arXiv 2504.02507), with three changes:

    - A non-finite norm never enters the statistics, and its gradient is left unchanged: scaling by such a norm would
      make every gradient NaN.
    - The statistics follow norms that grow permanently (see `update_statistics`).
    - The statistics are in the checkpoint, so a resumed run equals an uninterrupted one.

    On a GPU all values stay on the device and no host sync is added. On the CPU, and after a StepGuard that has already
    read the norm, plain floats are used. Under DDP the gradients are the same on every rank, so the limits are too.
    With manual optimization, each optimizer has its own statistics. Parameters without a gradient are ignored, and a
    step in which no parameter has one (a skipped update) changes nothing.

    ======================================= =========================================================================
    logged key                              meaning
    ======================================= =========================================================================
    ``adaptive_clipping/norm``              global L2 norm before clipping
    ``adaptive_clipping/limit``             norm above which this step would have been clipped
    ``adaptive_clipping/z_score``           standard deviations above the running mean
    ``adaptive_clipping/clipped_fraction``  fraction of the steps since the last log that were clipped, 0..1
    ======================================= =========================================================================

    All are logged at the trainer's ``log_every_n_steps``.

    Args:
        z_threshold: Standard deviations above the running mean at which clipping begins.
        alpha: Smoothing of the running statistics; they remember about ``1 / (1 - alpha)`` steps.
        warmup_steps: Steps that the first statistics are taken from; only ``max_norm`` clips during them.
        reaction: What an outlier is clipped to, see `ClippingReaction`.
        max_norm: Additional constant upper bound, active from the first step; None for no bound. Use this instead of
            ``trainer.gradient_clip_val``.

    Raises:
        ConfigurationError: If an argument is out of range; if ``trainer.gradient_clip_val`` is set too (gradients
            would be clipped twice, by different rules); for a fused optimizer under a gradient scaler and for sharded
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
        if begins_training(trainer, stage):
            self.load_state_dict({})
        if stage == "fit" and trainer.gradient_clip_val:
            raise ConfigurationError(
                f"trainer.gradient_clip_val: {trainer.gradient_clip_val} would clip a second time after"
                f" AdaptiveGradientClipping; set it to null and, if you want an upper bound, set the callback's"
                f" max_norm={trainer.gradient_clip_val}"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_plain_gradients(trainer, type(self).__name__)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        gradients = gradient_tensors(optimizer)
        if not gradients:
            return
        index = trainer.optimizers.index(optimizer)  # the same in a resumed run
        norm: Any = gradient_norm_before(trainer, self)
        if norm is None:
            norm = joint_norm(gradients) if gradients[0].is_cpu else total_norm(gradients)
        statistics = (self.statistics.get(index) or NormStatistics()).like(norm)
        limit, z = clipping_limit(
            statistics, norm, z_threshold=self.z_threshold, warmup_steps=self.warmup_steps, reaction=self.reaction
        )
        if self.max_norm is not None:
            limit = at_most(limit, self.max_norm)
        clipped = _clip(optimizer, gradients, norm, limit)
        self.statistics[index] = update_statistics(
            statistics, norm, alpha=self.alpha, z_threshold=self.z_threshold, warmup_steps=self.warmup_steps
        )
        count, steps = self._clipped.get(index, (0.0, 0))
        self._clipped[index] = (count + clipped, steps + 1)
        if is_logged_step(trainer):
            self._log(pl_module, index, norm, self._threshold(statistics), z)

    def state_dict(self) -> dict[str, Any]:
        return {
            "statistics": {index: [float(value) for value in values] for index, values in self.statistics.items()},
            "clipped": {index: [float(count), steps] for index, (count, steps) in self._clipped.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        statistics = state_dict.get("statistics", {})
        self.statistics = {index: NormStatistics(*values) for index, values in statistics.items()}
        self._clipped = {index: (count, steps) for index, (count, steps) in state_dict.get("clipped", {}).items()}

    def _threshold(self, statistics: NormStatistics) -> Any:
        """Norm above which a step is clipped, whatever it is then clipped to."""
        threshold = outlier_threshold(statistics, z_threshold=self.z_threshold, warmup_steps=self.warmup_steps)
        return threshold if self.max_norm is None else at_most(threshold, self.max_norm)

    def _log(self, pl_module: LightningModule, index: int, norm: Any, limit: Any, z: Any) -> None:
        clipped, steps = self._clipped.pop(index)
        suffix = f"/optimizer_{index}" if index else ""
        values = {"norm": norm, "limit": limit, "z_score": z, "clipped_fraction": clipped / steps}
        pl_module.log_dict({f"adaptive_clipping/{name}{suffix}": value for name, value in values.items()}, batch_size=1)


def _clip(optimizer: Optimizer, gradients: list[Tensor], norm: Any, limit: Any) -> Any:
    """Scale gradients whose norm exceeds the limit down to it; return 1 if they were scaled, else 0.

    A non-finite norm changes nothing.
    """
    if not isinstance(norm, Tensor):
        return scale_to_limit(gradients, norm, limit)
    finite = torch.isfinite(norm)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    # Norms are passed in units of the limit, because torch would read the limit from the device. A norm of 0 stands for
    # a non-finite one: its clipping factor is 1, so the gradient is unchanged.
    clip_grads_with_norm_(parameters, 1.0, torch.where(finite, norm / limit, 0.0))
    return (finite & (norm > limit)).float()
