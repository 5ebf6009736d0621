"""Log the norm of the gradient before and after clipping, and how often clipping engages."""

import logging
import math
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.finiteness import total_norm
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.gradient_access import require_plain_gradients
from vestim_pl.lightning_support.logged_metrics import log_agreed
from vestim_pl.lightning_support.loop_progress import begins_training, is_logged_step
from vestim_pl.lightning_support.step_finiteness import gradient_tensors, gradient_values
from vestim_pl.settings.checks import check_integers

__all__ = ["EpochNorms", "GradientNormMonitor"]

_UNCHANGED = 1.0 - 1e-5  # a smaller reduction of the norm is rounding, not clipping
_MIN_BURST_STEPS = 10  # an epoch with fewer observed steps is no evidence of a burst
_REPORT_AGAIN_FACTOR = 10.0  # change of the median norm at which a lasting burst is reported again


@dataclass
class EpochNorms:
    """Norms observed in an epoch, before and after clipping. Non-finite norms are counted separately, never averaged.

    Attributes:
        before: Finite norms before clipping.
        after: Finite norms after clipping, for steps whose update was applied.
        clipped: Number of steps in which clipping reduced the norm.
        compared: Number of steps for which both norms are known and finite.
        non_finite: Number of steps whose norm before clipping was NaN or infinite.

    """

    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    clipped: int = 0
    compared: int = 0
    non_finite: int = 0

    def observe(self, before: float, after: float | None) -> None:
        """Add one step; ``after`` is None if no update was applied."""
        if not math.isfinite(before):
            self.non_finite += 1
            return
        self.before.append(before)
        if after is not None and math.isfinite(after):
            self.after.append(after)
            self.compared += 1
            self.clipped += after < before * _UNCHANGED

    @property
    def clip_fraction(self) -> float:
        """Fraction of the compared steps in which clipping reduced the norm, 0..1; NaN if no steps were compared."""
        return self.clipped / self.compared if self.compared else float("nan")

    def summary(self) -> dict[str, float]:
        """The known statistics of the epoch by name; percentiles are NaN if every norm was non-finite."""
        figures: dict[str, float] = {"non_finite": float(self.non_finite)}
        if self.compared:
            figures["clip_fraction"] = self.clip_fraction
        if self.before:
            percentiles = np.percentile(self.before, (50, 90, 99)).tolist()
            figures |= dict(zip(("median", "p90", "p99"), percentiles, strict=True))
        elif self.non_finite:
            figures |= dict.fromkeys(("median", "p90", "p99"), float("nan"))
        return figures


class GradientNormMonitor(Callback):
    """Log the global gradient norm before and after clipping, and how often clipping engages.

    The norm after clipping saturates at the threshold. On its own it hides both an explosion and a threshold that
    limits every step; comparing the two norms reveals both. The first norm is measured in ``on_before_optimizer_step``
    (unscaled under a gradient scaler). The second is measured right after the optimizer step, on the gradients that the
    optimizer used, in every precision.

    The callback observes the first ``first_n_steps`` steps, then every ``every_n_steps``-th, and every step whose
    values Lightning writes. An observed step costs two fused norms and one host sync; the others cost nothing. A
    skipped update (all gradients None) is not observed. Place the callback before those that change gradients. If a
    module with manual optimization clips by itself, the gradients are clipped before Lightning's hook runs, so both
    norms are equal.

    Events: ``clip_burst`` at the end of the first epoch in which clipping engaged in at least ``clip_burst_fraction``
    of the observed steps, because the threshold then limits every step instead of catching spikes. The event repeats
    when the median norm has changed tenfold. ``clip_burst_end`` follows the first epoch below that fraction. An epoch
    with fewer than 10 observed steps causes neither.

    ============================ ======== =========================================================================
    Logged key                   When     Meaning (steps: only those that ``log_every_n_steps`` writes)
    ============================ ======== =========================================================================
    ``grad_norm/pre_clip``       step     global L2 norm before clipping
    ``grad_norm/post_clip``      step     global L2 norm of the gradients that the update used; absent if skipped
    ``grad_norm/layer/<name>``   step     L2 norm before clipping of one module's own parameters (``per_layer``)
    ``grad_norm/clip_fraction``  epoch    fraction of the observed updates in which clipping reduced the norm, 0..1
    ``grad_norm/median``         epoch    median of the finite norms before clipping; NaN if all were non-finite
    ``grad_norm/p90``            epoch    90th percentile of these norms
    ``grad_norm/p99``            epoch    99th percentile of these norms
    ``grad_norm/non_finite``     epoch    observed steps whose norm before clipping was NaN or infinite
    ============================ ======== =========================================================================

    With several optimizers, the keys from the second optimizer on end in ``/optimizer_1``, ``/optimizer_2``, ...

    Args:
        every_n_steps: Interval of observed steps after the first ones.
        first_n_steps: Number of first steps that are all observed.
        per_layer: Also log the norm of every module that owns parameters.
        clip_burst_fraction: Clip fraction that makes an epoch a burst; above 1 for never.

    Raises:
        ConfigurationError: If an argument is out of range; for a fused optimizer under a gradient scaler and for
            sharded strategies, where no hook sees the gradient.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> trainer = Trainer(max_steps=5, callbacks=[GradientNormMonitor()], gradient_clip_val=0.1, logger=False,
        ...                   log_every_n_steps=1, enable_checkpointing=False, enable_progress_bar=False,
        ...                   enable_model_summary=False, accelerator="cpu")
        >>> trainer.fit(BoringModel())
        >>> round(trainer.callback_metrics["grad_norm/post_clip"].item(), 4)
        0.1

    """

    def __init__(
        self,
        every_n_steps: int = 10,
        first_n_steps: int = 100,
        per_layer: bool = False,
        clip_burst_fraction: float = 0.9,
    ) -> None:
        self.every_n_steps, self.first_n_steps, self.per_layer = every_n_steps, first_n_steps, per_layer
        check_integers(self, type(self).__name__, every_n_steps=1, first_n_steps=0)
        if not clip_burst_fraction > 0:
            raise ConfigurationError(
                f"{type(self).__name__}.clip_burst_fraction: {clip_burst_fraction} must be positive, such as 0.9"
            )
        self.clip_burst_fraction = clip_burst_fraction
        self.epoch_norms: dict[int, EpochNorms] = {}
        self._steps: dict[int, int] = {}
        self._pending: dict[int, dict[str, Tensor]] = {}  # by optimizer: norms on the device, not read yet
        self._written = False  # whether Lightning writes the values logged in this step
        self._hooks: list[Any] = []
        self._bursts: dict[int, tuple[int, float]] = {}  # by optimizer: first epoch and last reported median

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if begins_training(trainer, stage):
            self.load_state_dict({})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_plain_gradients(trainer, type(self).__name__)
        self._unhook()
        self._pending.clear()
        for index, optimizer in enumerate(trainer.optimizers):
            self._hooks.append(optimizer.register_step_post_hook(partial(self._after_update, index=index)))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        index = trainer.optimizers.index(optimizer)
        step = self._steps[index] = self._steps.get(index, 0) + 1
        self._written = is_logged_step(trainer)
        if step > self.first_n_steps and step % self.every_n_steps and not self._written:
            return
        gradients = gradient_tensors(optimizer)
        if not gradients:
            return
        self._pending[index] = {"pre_clip": total_norm(gradients)}
        if self.per_layer:
            self._pending[index] |= _layer_norms(pl_module, optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._pending:
            return
        named = [(index, name, norm) for index, norms in self._pending.items() for name, norm in norms.items()]
        values = torch.stack([norm.to(named[0][2].device) for _, _, norm in named]).cpu()  # the one host sync
        self._pending.clear()
        norms: dict[int, dict[str, float]] = {}
        for (index, name, _), value in zip(named, values, strict=True):
            norms.setdefault(index, {})[name] = float(value)
            if self._written:  # a call of ``log`` costs more than the whole measurement
                pl_module.log(_key(name, index), value, on_step=True, on_epoch=False, batch_size=1)
        for index, found in norms.items():
            self.epoch_norms.setdefault(index, EpochNorms()).observe(found["pre_clip"], found.get("post_clip"))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for index, norms in self.epoch_norms.items():
            # gradients are averaged over the ranks before they are measured
            log_agreed(pl_module, {_key(name, index): value for name, value in norms.summary().items()})
            if norms.compared >= _MIN_BURST_STEPS:
                self._report_burst(trainer, norms, index)
        self.epoch_norms.clear()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._unhook()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._unhook()

    def state_dict(self) -> dict[str, Any]:
        return {
            "steps": dict(self._steps),
            "bursts": dict(self._bursts),
            "epoch_norms": {index: asdict(norms) for index, norms in self.epoch_norms.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps = dict(state_dict.get("steps", {}))
        self._bursts = dict(state_dict.get("bursts", {}))
        norms = state_dict.get("epoch_norms", {})
        self.epoch_norms = {index: EpochNorms(**values) for index, values in norms.items()}

    def _after_update(self, optimizer: Optimizer, args: Any, kwargs: Any, *, index: int) -> None:
        if index in self._pending and (gradients := gradient_tensors(optimizer)):
            self._pending[index]["post_clip"] = total_norm(gradients)

    def _report_burst(self, trainer: Trainer, norms: EpochNorms, index: int) -> None:
        steps = f"{norms.clip_fraction:.0%} of {norms.compared} observed steps"
        engaged = f"epoch {trainer.current_epoch}: clipping engaged in {steps}"
        burst = self._bursts.get(index)
        if norms.clip_fraction < self.clip_burst_fraction:
            if burst is not None:
                reason = f"{engaged}; it had engaged in nearly every step since epoch {burst[0]}"
                publish(trainer, "clip_burst_end", reason, level=logging.INFO, optimizer=index)
                del self._bursts[index]
            return
        median, p90 = np.percentile(norms.before, (50, 90)).tolist()
        if burst is not None and burst[1] / _REPORT_AGAIN_FACTOR < median < burst[1] * _REPORT_AGAIN_FACTOR:
            return
        self._bursts[index] = (trainer.current_epoch if burst is None else burst[0], median)
        reason = (
            f"{engaged} and cut the gradient norm from a median of {median:.3g} to {np.median(norms.after):.3g}, so it"
            f" limits nearly every step; a threshold of {p90:.2g} would clip one step in ten"
        )
        publish(
            trainer, "clip_burst", reason, clip_fraction=norms.clip_fraction, median=median, p90=p90, optimizer=index
        )

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()


def _key(name: str, index: int) -> str:
    return f"grad_norm/{name}/optimizer_{index}" if index else f"grad_norm/{name}"


def _layer_norms(pl_module: LightningModule, optimizer: Optimizer) -> dict[str, Tensor]:
    owned = {id(p) for group in optimizer.param_groups for p in group["params"] if p.grad is not None}
    norms = {}
    for name, module in pl_module.named_modules():
        gradients = [gradient_values(p) for p in module.parameters(recurse=False) if id(p) in owned]
        if gradients:
            norms[f"layer/{name or type(module).__name__}"] = total_norm(gradients)
    return norms
