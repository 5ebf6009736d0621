"""Measure on chosen steps how far back through the window the gradient reaches."""

import csv
import json
import logging
from collections.abc import Sequence
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
    """Answers with data whether a long window is worth having: the norm of dLoss/dh at each lag back through it.

    On chosen steps a copy of the module runs its own ``training_step`` on the batch, with every ``nn.LSTM``,
    ``nn.GRU`` and ``nn.RNN`` in it computed step by step, so that each hidden state is there to differentiate by. The
    run itself is not touched: weights, gradients, buffers, carried states, metrics, logs and random numbers are what
    they would have been.

    In a module without recurrent layers that calls torch's ``scaled_dot_product_attention``, the gradient with respect
    to each step's keys and values takes the place of dLoss/dh.

    Of each layer it tells the *effective memory* (how many of the last steps hold 99 % of the gradient) and
    whether the gradient vanishes or explodes on the way. Where a loss reads every step of the sequence, the gradient
    that comes in at the last one is followed (see `measure_gradient_flow`).
    Where `AdaptiveLookback` leaves steps out of the training windows, the whole ones are
    looked at. At the start of training the answer tells of the initialisation, later of what was learned: ask more than
    once.

    Writes ``step_<n>.png``, ``step_<n>.json`` and ``step_<n>.csv`` (``layer, lag, hidden_norm, cell_norm``), and one
    ``gradient_flow`` event with the sentence to read: of the layer that reaches farthest back, and before it of those
    whose gradient is not finite.

    ============================================ ====================================================================
    logged key                                   meaning
    ============================================ ====================================================================
    ``gradient_flow/effective_memory``           last steps that hold the share ``mass`` of the gradient; the largest
                                                 over the layers
    ``gradient_flow/far_to_near``                norm over the farthest tenth of the lags over that of the nearest
                                                 tenth, of the same layer
    ``gradient_flow/factor_per_step``            factor of the norm from lag to lag, of the same layer
    ============================================ ====================================================================

    They go to the loggers at once, whatever ``log_every_n_steps``. Cost: nothing on other steps; on a chosen step
    some ten training steps, and memory for the unrolled graph (about 15 numbers a hidden unit, step and sample).

    Args:
        steps: Optimizer steps (``trainer.global_step``) before which to measure.
        every_n_steps: Measure every so many steps as well; None for ``steps`` only.
        folder: Where to write; None for ``gradient_flow`` in the trainer's log folder.
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
            raise ConfigurationError(f"{name}.steps: {list(steps)} holds a negative step; count from 0")
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
                f"GradientFlowProbe: {type(pl_module).__name__} optimizes manually, so its training_step cannot be run"
                " aside; use automatic optimization or leave the probe out"
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
        self._tell(trainer, batch_idx)

    def state_dict(self) -> dict[str, Any]:
        return {"last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._last_step = state_dict.get("last_step", -1)

    def _tell(self, trainer: Trainer, batch_idx: int) -> None:
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
    """Write numbers and plot of one measurement into ``folder``.

    Raises:
        FileError: If a file cannot be written.

    """
    stem = folder / f"step_{step:07d}"
    with writing(stem):
        folder.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".json").write_text(json.dumps([flow.as_dict() for flow in flows], indent=1) + "\n")
        _write_table(flows, stem.with_suffix(".csv"))
        plot_gradient_flow(flows, stem.with_suffix(".png"), f"Gradient through the window before step {step:,}", mass)


def _write_table(flows: Sequence[GradientFlow], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["layer", "lag", "hidden_norm", "cell_norm"])
        for flow in flows:
            for lag, (hidden, cell) in enumerate(zip_longest(flow.hidden_norms, flow.cell_norms, fillvalue="")):
                writer.writerow([flow.layer, lag, hidden, cell])


def _sentence(flows: Sequence[GradientFlow], longest: GradientFlow, mass: float) -> str:
    """What to know of the layers: first each whose gradient is not finite, then the one that reaches farthest back."""
    lost = [flow for flow in flows if not np.isfinite(flow.hidden_norms).all()]
    told = [*lost, longest] if longest not in lost else lost
    return "; ".join(describe_flow(flow, mass) for flow in told)


def _loss(module: LightningModule, batch: Any, batch_idx: int) -> Tensor:
    loss = loss_of_step(module, batch, batch_idx)
    if loss is None:
        raise ConfigurationError("GradientFlowProbe: training_step returned no loss for the probed batch")
    return loss
