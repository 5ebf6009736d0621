"""Measure at chosen steps how far back through the window the gradient reaches."""

import csv
import json
import logging
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from vestim_pl.callbacks.gradients.gradient_flow import GradientFlow, describe_flow, measure_gradient_flow
from vestim_pl.callbacks.gradients.gradient_flow_plot import plot_gradient_flow
from vestim_pl.errors import ConfigurationError
from vestim_pl.files import writing
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.lookback import whole_batch
from vestim_pl.lightning_support.step_rerun import loss_of_step, silent_copy

__all__ = ["GradientFlowProbe"]


class GradientFlowProbe(Callback):
    """Measure the norm of dLoss/dh at each lag of the window, to show whether a long window is worth its cost.

    At chosen steps, a copy of the module runs its own ``training_step`` on the batch. Every ``nn.LSTM``, ``nn.GRU`` and
    ``nn.RNN`` in the copy runs step by step, so the loss can be differentiated with respect to each hidden state. The
    training itself is unaffected: weights, gradients, buffers, carried states, metrics, logs and random numbers stay
    the same.

    In a module without recurrent layers that calls torch's ``scaled_dot_product_attention``, the gradient with respect
    to each step's keys and values replaces dLoss/dh.

    For each layer, the probe reports the *effective memory* (the number of last steps that hold 99 % of the gradient)
    and whether the gradient vanishes or explodes. If the loss reads every step of the sequence, only the gradient that
    enters at the last step is followed (see `measure_gradient_flow`). Windows that `AdaptiveLookback` cuts are measured
    whole. A measurement at the start of training describes the initialisation, later ones what was learned, so measure
    more than once.

    The probe writes ``step_<n>.json`` and ``step_<n>.csv`` (``layer, lag, hidden_norm, cell_norm``), and
    ``step_<n>.png`` where matplotlib is installed (``pip install vestim_pl[plots]``). It also publishes one
    ``gradient_flow`` event, which describes the layers with a non-finite gradient and the layer that reaches farthest
    back.

    ============================================ ====================================================================
    logged key                                   meaning
    ============================================ ====================================================================
    ``gradient_flow/effective_memory``           last steps that hold the share ``mass`` of the gradient, in the
                                                 layer where this number is largest
    ``gradient_flow/far_to_near``                norm over the farthest tenth of the lags divided by that over the
                                                 nearest tenth, in the same layer
    ``gradient_flow/factor_per_step``            factor of the norm from lag to lag, in the same layer
    ============================================ ====================================================================

    These are logged immediately, regardless of ``log_every_n_steps``. A measurement costs about ten training steps and
    memory for the unrolled graph (about 15 numbers per hidden unit, step and sample). Other steps cost nothing.

    Args:
        steps: Optimizer steps (``trainer.global_step``) before which to measure.
        every_n_steps: Interval of further measurements in steps; None for ``steps`` only.
        folder: Output folder; None for ``gradient_flow`` in the trainer's log folder.
        mass: Share of the gradient that the effective memory holds.

    Raises:
        ConfigurationError: If an argument is out of range, with manual optimization (``training_step`` would step the
            optimizer), or if the module calls neither a recurrent layer nor attention.

    Example::

        >>> probe = GradientFlowProbe(steps=[0, 1000], folder="gradient_flow")

    """

    def __init__(
        self,
        steps: Sequence[int] = (0, 100, 1000),
        every_n_steps: int | None = None,
        folder: str | None = None,
        mass: float = 0.99,
    ) -> None:
        name = type(self).__name__
        if any(step < 0 for step in steps):
            raise ConfigurationError(f"{name}.steps: {list(steps)} contains a negative step; count from 0")
        if every_n_steps is not None and every_n_steps < 1:
            raise ConfigurationError(f"{name}.every_n_steps: {every_n_steps} must be at least 1, or null for never")
        if not 0 < mass < 1:
            raise ConfigurationError(f"{name}.mass: {mass} must lie between 0 and 1, such as 0.99")
        self.steps = frozenset(steps)
        self.every_n_steps = every_n_steps
        self.folder = folder
        self.mass = mass
        self.flows: list[GradientFlow] = []
        self._last_step = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and not pl_module.automatic_optimization:
            raise ConfigurationError(
                f"GradientFlowProbe: {type(pl_module).__name__} optimizes manually, so its training_step cannot be"
                " measured without changing the weights; use automatic optimization or remove the probe"
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        due = step in self.steps or (self.every_n_steps is not None and step % self.every_n_steps == 0)
        if not due or step == self._last_step:  # several batches share a step under accumulation
            return
        self._last_step = step
        with isolate_rng():
            aside, windows = silent_copy(trainer, pl_module), whole_batch(trainer, batch)
            self.flows = measure_gradient_flow(aside, lambda: _loss(aside, windows, batch_idx), self.mass)
        self._report(trainer, batch_idx)

    def state_dict(self) -> dict[str, Any]:
        return {"last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._last_step = state_dict.get("last_step", -1)

    def _report(self, trainer: Trainer, batch_idx: int) -> None:
        step, longest = trainer.global_step, max(self.flows, key=lambda flow: flow.effective_memory)
        names = ("effective_memory", "far_to_near", "factor_per_step")
        values = {f"gradient_flow/{name}": float(getattr(longest, name)) for name in names}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=step)
        folder = Path(self.folder or Path(trainer.log_dir or trainer.default_root_dir) / "gradient_flow")
        if trainer.is_global_zero:
            write_flows(self.flows, folder, step, self.mass)
        summary = {flow.layer: flow.as_dict() for flow in self.flows}
        for flow in summary.values():
            del flow["hidden_norms"], flow["cell_norms"]
        publish(
            trainer, "gradient_flow", _sentence(self.flows, longest, self.mass), batch=batch_idx, level=logging.INFO,
            layers=summary, folder=str(folder),
        )  # fmt: skip


def write_flows(flows: Sequence[GradientFlow], folder: Path, step: int, mass: float) -> None:
    """Write the numbers and the plot of one measurement to ``folder``.

    Raises:
        FileError: If a file cannot be written.

    """
    stem = folder / f"step_{step:07d}"
    with writing(stem):
        folder.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".json").write_text(json.dumps([flow.as_dict() for flow in flows], indent=1) + "\n")
        _write_table(flows, stem.with_suffix(".csv"))
        if find_spec("matplotlib"):  # the extra "plots"; the run report draws the numbers without it
            plot_gradient_flow(
                flows, stem.with_suffix(".png"), f"Gradient through the window before step {step:,}", mass
            )


def _write_table(flows: Sequence[GradientFlow], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["layer", "lag", "hidden_norm", "cell_norm"])
        for flow in flows:
            for lag, (hidden, cell) in enumerate(zip_longest(flow.hidden_norms, flow.cell_norms, fillvalue="")):
                writer.writerow([flow.layer, lag, hidden, cell])


def _sentence(flows: Sequence[GradientFlow], longest: GradientFlow, mass: float) -> str:
    """Describe each layer with a non-finite gradient, then the layer that reaches farthest back."""
    non_finite = [flow for flow in flows if not np.isfinite(flow.hidden_norms).all()]
    described = [*non_finite, longest] if longest not in non_finite else non_finite
    return "; ".join(describe_flow(flow, mass) for flow in described)


def _loss(module: LightningModule, batch: Any, batch_idx: int) -> Tensor:
    loss = loss_of_step(module, batch, batch_idx)
    if loss is None:
        raise ConfigurationError(
            "GradientFlowProbe: training_step returned no loss for the batch at a measured step; choose other steps"
        )
    return loss
