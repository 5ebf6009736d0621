"""Write what reproduces a step that went wrong."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from vestim_pl.callbacks.crash_bundle.bundle_content import loss_scale
from vestim_pl.callbacks.crash_bundle.bundle_file import free_path
from vestim_pl.callbacks.crash_bundle.bundle_finding import rerun_aside
from vestim_pl.callbacks.crash_bundle.bundle_report import BundleReport, report_fault
from vestim_pl.callbacks.crash_bundle.step_window import StepWindow
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.callback_order import RECOVERY, require_before
from vestim_pl.lightning_support.events import Event, publish, watched_events
from vestim_pl.lightning_support.finiteness import all_finite
from vestim_pl.lightning_support.gradient_access import require_one_step, require_plain_gradients
from vestim_pl.lightning_support.rank_agreement import gather, ranks_at_fault
from vestim_pl.lightning_support.step_finiteness import StepVerdict, judge_step, total_norm
from vestim_pl.lightning_support.training_snapshot import trained_parameters

__all__ = ["CrashBundle"]

_BAD_UPDATE = "the update left parameters that are not finite"
_BAD_WEIGHTS = "the parameters are not finite"


class CrashBundle(Callback):
    """Writes, when a loss, a gradient or an updated weight is not finite, all that is needed to run that step again.

    A bundle holds the weights and optimizer state before the step, buffers, what the module itself adds to a
    checkpoint (a carried recurrent state), the batches of the accumulation window, random states, precision, loss
    scale, the gradients of the update where one was made, hyperparameters and versions.
    ``python -m vestim_pl.replay BUNDLE`` runs the step again on CPU, without the training data, and names the first
    module, time step and tensor that is not finite. Beside the ``.pt`` file, which loads with ``weights_only=True``,
    lies a ``.json`` file to read.

    The same is done at once, on a copy of the module within the run, because what came from outside of the step (a
    hook, another callback, a fault of the machine) does not replay; the finding is in the event and in the bundle.
    Where the step cannot be run again, both say ``not located`` and why. Batches are not copied before a step: those
    that ``training_step`` changes in place are looked at and kept as it left them.

    Works alone and beside guards; place it before them, so that it sees gradients before they are taken away, and
    before DivergenceRecovery. An overflow that a gradient scaler handles makes no bundle. On several ranks those whose
    own loss or batch is not finite write; the event is that of the first of them.

    Event: ``bundle``, with ``path``, the ``cause`` (``parameter``, ``batch``, ``forward``, ``loss``, ``backward``,
    ``gradient`` or ``update``), the ``finding`` and the ``recordings`` where ``trainer.datamodule`` has
    ``locate(batch)``. It comes after a guard's ``skip`` or ``non_finite``, whose cause its line does not repeat. Where
    no bundle could be written it tells so, and ``path`` is empty.

    Where guards look out for a ``skip`` and for parameters that are ``non_finite`` at every step, as StepGuard and
    FiniteParameterGuard do, it takes their word and measures nothing itself.

    Cost: one more copy of weights and moments in memory, copied every step; one host sync a step, none with those
    guards; no gradient is freed before the end of its batch. ``docs/research_log.md`` has it in microseconds.

    Args:
        folder: Where bundles go; None for ``bundles`` in the trainer's log folder.
        max_bundles: Faults in one training that are looked into; the event of the last one tells so.
        max_megabytes: A bundle with more MB of tensors is not written.
        ring: Number of ranges kept before a finding.

    Raises:
        ConfigurationError: If an argument is out of range; with manual optimization or LBFGS; behind a callback that
            restores weights; for a fused optimizer under a gradient scaler and for sharded strategies.

    Example::

        >>> CrashBundle(folder="bundles", max_bundles=3).written
        0

    """

    def __init__(
        self, folder: str | None = None, max_bundles: int = 3, max_megabytes: float = 500.0, ring: int = 20
    ) -> None:
        for name, value in (("max_bundles", max_bundles), ("ring", ring), ("max_megabytes", max_megabytes)):
            if not value > 0:
                raise ConfigurationError(f"CrashBundle.{name}: {value} must be positive")
        self.folder, self.ring = folder, ring
        self.max_bundles, self.max_megabytes = max_bundles, max_megabytes
        self.written = self.faults = 0  # bundles on disk, and those looked for, which max_bundles limits
        self._window: StepWindow | None = None
        self._done = self._agreed = False  # of this batch: here, and on all ranks together
        self._cause_told = False
        self._told = self._weights_told = False  # whether guards look at every step, so that to look twice is of no use
        self._due: BundleReport | None = None  # the event to publish

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            require_before(trainer, self, RECOVERY)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_plain_gradients(trainer, type(self).__name__)
        require_one_step(trainer, pl_module, type(self).__name__)
        watched = watched_events(trainer)
        self._told, self._weights_told = watched >= {"skip", "non_finite"}, "non_finite" in watched
        # here, for it asks all ranks
        self._folder = Path(self.folder or Path(trainer.log_dir or trainer.default_root_dir) / "bundles")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._window is None:
            self._window = StepWindow(pl_module, trainer.optimizers[0])
        if self._window.updating or self._done:  # the window before is over
            self._window.clear()
        if self._due is not None:
            self._tell(trainer)
        self._done = self._agreed = self._cause_told = False
        self._window.start_batch(batch, batch_idx)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        window = self._window
        if window is None:
            return
        window.losses.append(loss.detach())
        if loss.is_cpu and not math.isfinite(loss.item()) and not window.rerun and self.faults < self.max_bundles:
            rerun_aside(trainer, pl_module, window, self.ring)  # while what caused it is still at work

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        window = self._window
        if window is None:
            return
        window.before_update()
        if not self._told:
            signals = window.measure()
            if signals.is_cpu:
                self._judge(trainer, pl_module, window)  # reading costs nothing, and the fault may still be at work

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._window is not None and self._window.updating:
            if not self._told:
                self._judge(trainer, pl_module, self._window, updated=not self._weights_told)
            self._window.gradients = {}
        self._tell(trainer)

    def on_event(self, trainer: Trainer, event: Event) -> None:
        """Take a guard's word for a skipped step, and for weights that are not finite."""
        window = self._window
        if window is None or not window.batches:
            return
        if event.kind == "non_finite":  # whose line comes first in every log: the bundle is told later
            self._cause_told = True
            self._look_at_weights(trainer, trainer.lightning_module, window)
        if event.kind != "skip" or event.values.get("cause") == "overflow":
            return
        self._cause_told = True
        if not self._agreed:
            window.copy_state()  # nothing was updated yet
            window.loss_scale = loss_scale(trainer)
            ranks = ranks_at_fault(trainer, window.losses, window.batches)
            self._write_together(trainer, trainer.lightning_module, window, event.reason, ranks)

    def before_rollback(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the weights before they are restored; in the midst of an accumulation window nothing else does."""
        if self._window is not None and self._window.batches:
            self._look_at_weights(trainer, pl_module, self._window)
        self._tell(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._window is not None and self._window.updating:
            self._judge(trainer, pl_module, self._window, updated=True, together=False)
        self._tell(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._window = None

    def state_dict(self) -> dict[str, Any]:
        return {"written": self.written, "faults": self.faults}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.written = state_dict.get("written", 0)
        self.faults = state_dict.get("faults", self.written)

    def _judge(
        self, trainer: Trainer, pl_module: LightningModule, window: StepWindow, updated: bool = False,
        together: bool = True,
    ) -> None:  # fmt: skip
        """Write a bundle if loss or gradient, or what the update made of the weights, is not finite; one host sync."""
        if self._done or (window.read and not updated):
            return
        signals = window.measure()
        values = [] if window.read else [signals]
        if updated:
            values.append(total_norm(window.parameters).to(signals).reshape(1))
        read = (values[0] if len(values) == 1 else torch.cat(values)).tolist()
        window.read = window.read or read[:2]
        (loss, norm), weight = window.read, read[-1] if updated else 0.0
        if math.isfinite(loss + norm + weight):
            return
        if math.isfinite(loss + norm) and all_finite(trained_parameters(pl_module).values()):
            return  # only the sum of the squared weights overflowed, or a frozen one is infinite, as masks are
        window.loss_scale = loss_scale(trainer, lowered=updated)
        together = together and not math.isfinite(norm)  # the gradient is that of all ranks, so all of them come here
        ranks = ranks_at_fault(trainer, window.losses, window.batches) if together else []
        verdict, reason = judge_step(loss, norm, window.loss_scale)
        if verdict is StepVerdict.OVERFLOW and not ranks:
            return
        reason = _BAD_UPDATE if verdict is StepVerdict.APPLY else reason
        if together:
            self._write_together(trainer, pl_module, window, reason, ranks)
        elif not math.isfinite(loss) or trainer.is_global_zero:
            self._write(trainer, pl_module, window, reason)

    def _look_at_weights(self, trainer: Trainer, pl_module: LightningModule, window: StepWindow) -> None:
        if trainer.is_global_zero and not all_finite(trained_parameters(pl_module).values()):
            window.copy_state()
            window.loss_scale = loss_scale(trainer, lowered=window.updating)
            self._write(trainer, pl_module, window, _BAD_UPDATE if window.updating else _BAD_WEIGHTS)

    def _write_together(
        self, trainer: Trainer, pl_module: LightningModule, window: StepWindow, reason: str, ranks: Sequence[int]
    ) -> None:
        """Write on the ranks at fault, on the first if none is, and have all ranks tell of the first of these bundles.

        Every rank has to call.
        """
        if trainer.global_rank in (ranks or [0]):
            self._write(trainer, pl_module, window, reason)
        reports, written, faults = zip(*gather(trainer, (self._due, self.written, self.faults)), strict=True)
        self._due = next((report for report in reports if report is not None), None)
        self.written, self.faults = max(written), max(faults)
        self._done = self._agreed = True

    def _write(self, trainer: Trainer, pl_module: LightningModule, window: StepWindow, reason: str) -> None:
        if self._done or self.faults >= self.max_bundles:
            return
        self._done = True
        self.faults += 1
        rank = f"-rank_{trainer.global_rank}" if trainer.world_size > 1 else ""
        name = f"epoch_{trainer.current_epoch:04d}-batch_{window.indices[-1]:06d}{rank}.pt"
        path = free_path(self._folder / name)
        self._due = report_fault(trainer, pl_module, window, reason, path, self.ring, self.max_megabytes)
        self.written += bool(self._due.values["path"])

    def _tell(self, trainer: Trainer) -> None:
        if self._due is not None:
            report, self._due = self._due, None
            note = f"the last of max_bundles={self.max_bundles}; " if self.faults == self.max_bundles else ""
            publish(trainer, "bundle", report.line(self._cause_told, note), **report.values)
