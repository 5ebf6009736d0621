"""Write a crash bundle when a step goes wrong."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from vestim_pl.callbacks.crash_bundle.locating import find_in_step, rerun_on_copy
from vestim_pl.callbacks.crash_bundle.recording import StepWindow
from vestim_pl.callbacks.crash_bundle.writing import BundleReport, free_path, report_fault
from vestim_pl.errors import ConfigurationError, VestimError, name_error
from vestim_pl.functional.finiteness import all_finite, total_norm
from vestim_pl.lightning_support.callback_order import RECOVERY, require_before
from vestim_pl.lightning_support.events import Event, publish, watched_events
from vestim_pl.lightning_support.gradient_access import require_one_step, require_plain_gradients
from vestim_pl.lightning_support.loop_progress import begins_training
from vestim_pl.lightning_support.precision import loss_scale
from vestim_pl.lightning_support.processes import gather, ranks_at_fault
from vestim_pl.lightning_support.step_finiteness import StepVerdict, judge_step
from vestim_pl.lightning_support.training_batches import refuse_batch_iterator
from vestim_pl.lightning_support.training_snapshot import trained_parameters

__all__ = ["CrashBundle"]

_BAD_UPDATE = "the update left non-finite parameters"
_BAD_WEIGHTS = "the parameters are non-finite"


class CrashBundle(Callback):
    """Write everything needed to replay a step whose loss, gradient or updated weights are non-finite.

    A bundle holds the weights and optimizer state from before the step, the buffers, what ``on_save_checkpoint`` of the
    module adds (such as a carried recurrent state), the batches of the accumulation window, random states, precision,
    loss scale, the gradients that the optimizer applied, hyperparameters and versions. ``python -m vestim_pl.replay
    BUNDLE`` runs the step again on the CPU, without the training data, and names the first non-finite module, time step
    and tensor. The ``.pt`` file loads with ``weights_only=True``; a ``.json`` file beside it is for people.

    The callback also runs the step again at once, on a copy of the module, because a fault from outside the step (a
    hook, another callback, the machine) does not replay. The event and the bundle contain the finding. If the step
    cannot run again, both say ``not located`` and why. Batches are not copied before a step, so a batch that
    ``training_step`` changes in place is recorded as changed.

    Some modules raise an error of their own at a NaN. A step that ends so and holds a non-finite value gets a
    bundle too; the error itself is not changed.

    It works alone and with guards. Place it before them, so that it sees gradients before they are cleared, and before
    DivergenceRecovery. An overflow that a gradient scaler handles makes no bundle. With several ranks, those whose own
    loss or batch is non-finite write a bundle, and the event is that of the first of them.

    Event: ``bundle``, with ``path``, the ``cause`` (``parameter``, ``batch``, ``forward``, ``loss``, ``backward``,
    ``gradient`` or ``update``), the ``finding``, and the ``recordings`` if ``trainer.datamodule`` has
    ``locate(batch)``. It follows a guard's ``skip`` or ``non_finite`` and does not repeat the cause in its line. If no
    bundle could be written, the event says why and ``path`` is empty.

    If guards watch for both ``skip`` and ``non_finite`` at every step, as StepGuard and FiniteParameterGuard do, the
    callback relies on their events and measures nothing itself.

    Cost: a second copy of weights and moments in memory, written at every step; one host sync a step, none with those
    guards; gradients stay allocated until the end of their batch. ``docs/research_log.md`` has the microseconds.

    Args:
        folder: Folder for bundles; None for ``bundles`` in the trainer's log folder.
        max_bundles: Most faults to examine in one training; the last event says so.
        max_megabytes: Largest bundle, in MB of tensors.
        ring: Number of ranges kept before a finding.

    Raises:
        ConfigurationError: If an argument is out of range; with manual optimization or LBFGS; after a callback that
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
        self.written = self.faults = 0  # bundles on disk; faults examined, which max_bundles limits
        self._window: StepWindow | None = None
        self._in_batch = False
        self._handled = self._agreed = False  # this batch: on this rank, and on all ranks together
        self._cause_reported = False
        self._steps_watched = self._weights_watched = False  # by guards, at every step
        self._pending: BundleReport | None = None  # to publish

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if begins_training(trainer, stage):
            self.load_state_dict({})
        if stage == "fit":
            require_before(trainer, self, RECOVERY)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_plain_gradients(trainer, type(self).__name__)
        require_one_step(trainer, pl_module, type(self).__name__)
        refuse_batch_iterator(pl_module, type(self).__name__, "recorded")
        self._in_batch = False
        watched = watched_events(trainer)
        self._steps_watched, self._weights_watched = watched >= {"skip", "non_finite"}, "non_finite" in watched
        # log_dir is a collective call, so every rank must make it here
        self._folder = Path(self.folder or Path(trainer.log_dir or trainer.default_root_dir) / "bundles")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._window is None:
            self._window = StepWindow(pl_module, trainer.optimizers[0])
        if self._window.updating or self._handled:  # the last window is complete
            self._window.clear()
        elif self._in_batch:
            self._window.drop_batch()
        self._in_batch = True
        if self._pending is not None:
            self._publish(trainer)
        self._handled = self._agreed = self._cause_reported = False
        self._window.start_batch(batch, batch_idx)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._window is not None:  # drops what the module has left unfinished
            self._window.clear()
            self._in_batch = False

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        window = self._window
        if window is None:
            return
        window.losses.append(loss.detach())
        if loss.is_cpu and not math.isfinite(loss.item()) and not window.rerun and self.faults < self.max_bundles:
            rerun_on_copy(trainer, pl_module, window, self.ring)  # now, while an outside cause is still present

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        window = self._window
        if window is None:
            return
        window.before_update()
        if not self._steps_watched:
            signals = window.measure()
            if signals.is_cpu:  # no host sync, and an outside cause may still be present
                self._judge(trainer, pl_module, window)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._in_batch = False
        if self._window is not None and self._window.updating:
            if not self._steps_watched:
                self._judge(trainer, pl_module, self._window, updated=not self._weights_watched)
            self._window.gradients = {}
        self._publish(trainer)

    def on_event(self, trainer: Trainer, event: Event) -> None:
        """Write a bundle for a step that a guard skips, and for weights that a guard finds non-finite."""
        window = self._window
        if window is None or not window.batches:
            return
        if event.kind == "non_finite":  # its line must come first in every log, so the bundle is published later
            self._cause_reported = True
            self._examine_weights(trainer, trainer.lightning_module, window)
        if event.kind != "skip" or event.values.get("cause") == "overflow":
            return
        self._cause_reported = True
        if not self._agreed:
            window.copy_state()  # still the state before the update
            window.loss_scale = loss_scale(trainer)
            ranks = ranks_at_fault(trainer, window.losses, window.batches)
            self._write_together(trainer, trainer.lightning_module, window, event.reason, ranks)

    def before_rollback(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Examine the weights before they are replaced; within an accumulation window nothing else does."""
        if self._window is not None and self._window.batches:
            self._examine_weights(trainer, pl_module, self._window)
        self._publish(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._publish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        window = self._window
        if window is not None and window.updating:
            self._judge(trainer, pl_module, window, updated=True, together=False)
        elif window is not None and self._in_batch and isinstance(exception, Exception):
            self._examine_failed_step(trainer, pl_module, window, exception)
        self._publish(trainer)

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
        """Write a bundle if the loss, the gradient or the updated weights are non-finite; one host sync."""
        if self._handled or (window.read and not updated):
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
            return  # only the sum of squares overflowed, or a frozen weight is infinite, as masks are
        window.loss_scale = loss_scale(trainer, lowered=updated)
        together = together and not math.isfinite(norm)  # the gradient is shared, so every rank gets here
        ranks = ranks_at_fault(trainer, window.losses, window.batches) if together else []
        verdict, reason = judge_step(loss, norm, window.loss_scale)
        if verdict is StepVerdict.OVERFLOW and not ranks:
            return
        reason = _BAD_UPDATE if verdict is StepVerdict.APPLY else reason
        if together:
            self._write_together(trainer, pl_module, window, reason, ranks)
        elif not math.isfinite(loss) or trainer.is_global_zero:
            self._write(trainer, pl_module, window, reason)

    def _examine_failed_step(
        self, trainer: Trainer, pl_module: LightningModule, window: StepWindow, exception: Exception
    ) -> None:
        """Write a bundle if the step holds a non-finite value, at which some modules raise an error of their own."""
        if self._handled or self.faults >= self.max_bundles or isinstance(exception, VestimError):
            return
        window.copy_state()
        window.loss_scale = loss_scale(trainer)
        if find_in_step(trainer, pl_module, window, self.ring).origin is not None:
            self._write(trainer, pl_module, window, f"the step raised {name_error(exception)}")

    def _examine_weights(self, trainer: Trainer, pl_module: LightningModule, window: StepWindow) -> None:
        if trainer.is_global_zero and not all_finite(trained_parameters(pl_module).values()):
            window.copy_state()
            window.loss_scale = loss_scale(trainer, lowered=window.updating)
            self._write(trainer, pl_module, window, _BAD_UPDATE if window.updating else _BAD_WEIGHTS)

    def _write_together(
        self, trainer: Trainer, pl_module: LightningModule, window: StepWindow, reason: str, ranks: Sequence[int]
    ) -> None:
        """Write on the given ranks, or on the first if there are none; every rank reports the first of these bundles.

        Every rank must call this.
        """
        if trainer.global_rank in (ranks or [0]):
            self._write(trainer, pl_module, window, reason)
        reports, written, faults = zip(*gather(trainer, (self._pending, self.written, self.faults)), strict=True)
        self._pending = next((report for report in reports if report is not None), None)
        self.written, self.faults = max(written), max(faults)
        self._handled = self._agreed = True

    def _write(self, trainer: Trainer, pl_module: LightningModule, window: StepWindow, reason: str) -> None:
        if self._handled or self.faults >= self.max_bundles:
            return
        self._handled = True
        self.faults += 1
        rank = f"-rank_{trainer.global_rank}" if trainer.world_size > 1 else ""
        name = f"epoch_{trainer.current_epoch:04d}-batch_{window.indices[-1]:06d}{rank}.pt"
        path = free_path(self._folder / name)
        self._pending = report_fault(trainer, pl_module, window, reason, path, self.ring, self.max_megabytes)
        self.written += bool(self._pending.values["path"])

    def _publish(self, trainer: Trainer) -> None:
        if self._pending is not None:
            report, self._pending = self._pending, None
            note = f"the last of max_bundles={self.max_bundles}; " if self.faults == self.max_bundles else ""
            publish(trainer, "bundle", report.line(self._cause_reported, note), **report.values)
