"""Write what reproduces a step that went wrong."""

import logging
import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from vestim_pl.functional.bundle_content import (
    bundle_content,
    bundle_summary,
    loss_scale,
    recordings_of,
)
from vestim_pl.functional.bundle_file import tensor_megabytes, write_bundle
from vestim_pl.functional.bundle_finding import find_in_step, rerun_aside
from vestim_pl.functional.command_line import command_line
from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.functional.events import Event, publish, watched_events
from vestim_pl.functional.finiteness import all_finite
from vestim_pl.functional.gradient_access import require_plain_gradients
from vestim_pl.functional.step_finiteness import StepVerdict, judge_step, total_norm
from vestim_pl.functional.step_story import tell_step
from vestim_pl.functional.step_trace import Phase
from vestim_pl.functional.step_window import StepWindow
from vestim_pl.functional.training_snapshot import trained_parameters

__all__ = ["CrashBundle"]

_log = logging.getLogger("vestim_pl")

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

    Works alone and beside guards; place it before them, so that it sees gradients before they are taken away, and
    before DivergenceRecovery. An overflow that a gradient scaler handles makes no bundle.

    Event: ``bundle``, with ``path``, the ``cause`` (``parameter``, ``batch``, ``forward``, ``loss``, ``backward``,
    ``gradient`` or ``update``), the ``finding`` and the ``recordings`` where ``trainer.datamodule`` has
    ``locate(batch)``. It comes at the end of the batch, after a guard's ``skip``, whose cause its line does not repeat.

    Where guards look out for a ``skip`` and for parameters that are ``non_finite`` at every step, as StepGuard and
    FiniteParameterGuard do, it takes their word and measures nothing itself.

    Cost: one more copy of weights and moments in memory, copied every step; one host sync a step, none with those
    guards; no gradient is freed before the end of its batch. ``docs/performance.md`` has it in microseconds.

    Args:
        folder: Where bundles go; None for ``bundles`` in the trainer's log folder.
        max_bundles: Bundles in one training; further faults make none.
        max_megabytes: A bundle with more MB of tensors is not written.
        ring: Number of ranges kept before a finding.

    Raises:
        ConfigurationError: If an argument is out of range; with manual optimization; behind a callback that restores
            weights; for a fused optimizer under a gradient scaler and for sharded strategies.

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
        self.written = 0
        self._window: StepWindow | None = None
        self._done = self._skip_told = False
        self._told = False  # whether guards tell of all that is not finite, so that looking twice is of no use
        self._due: tuple[tuple[str, str, str], dict[str, Any]] | None = None  # the event to publish, its text in parts

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and not pl_module.automatic_optimization:
            raise ConfigurationError(
                f"CrashBundle: {type(pl_module).__name__} optimizes manually, so one training_step is not one step to"
                " replay; use automatic optimization or leave the callback out"
            )
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        for other in callbacks[: callbacks.index(self)]:
            if stage == "fit" and hasattr(other, "recover_from"):
                name = type(other).__name__
                raise ConfigurationError(
                    f"CrashBundle: {name} stands before it and would restore the weights before they are looked at; put"
                    f" CrashBundle before {name} in callbacks"
                )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_plain_gradients(trainer, type(self).__name__)
        self._told = watched_events(trainer) >= {"skip", "non_finite"}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._window is None:
            self._window = StepWindow(pl_module, trainer.optimizers[0])
        if self._window.updating or self._done:  # the window before is over
            self._window.clear()
        self._done = self._skip_told = False
        self._window.start_batch(batch, batch_idx)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if self._window is not None:
            self._window.losses.append(loss.detach())
            if loss.is_cpu and not math.isfinite(loss.item()) and not self._window.rerun:
                rerun_aside(trainer, pl_module, self._window, self.ring)  # while what caused it is still at work

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        window = self._window
        if window is None:
            return
        window.before_update()
        if not self._told:
            signals = window.measure()
            if signals.is_cpu:
                self._judge(
                    trainer, pl_module, window
                )  # reading costs nothing here, and the fault may still be at work

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._window is not None and self._window.updating:
            if not self._told:
                self._judge(trainer, pl_module, self._window, updated=True)
            self._window.gradients = {}
        self._tell(trainer)

    def on_event(self, trainer: Trainer, event: Event) -> None:
        """Take a guard's word for a skipped step, and for weights that are not finite."""
        window = self._window
        if window is None or not window.batches:
            return
        if event.kind == "non_finite":
            self.before_rollback(trainer, trainer.lightning_module)
        if event.kind != "skip" or event.values.get("cause") == "overflow":
            return
        self._skip_told = True
        window.copy_state()  # nothing was updated yet
        window.loss_scale = loss_scale(trainer)
        self._write(trainer, trainer.lightning_module, window, event.reason)

    def before_rollback(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the weights before they are restored; in the midst of an accumulation window nothing else does."""
        window = self._window
        if window is not None and window.batches and not all_finite(trained_parameters(pl_module).values()):
            window.copy_state()
            window.loss_scale = loss_scale(trainer, lowered=window.updating)
            if trainer.is_global_zero:
                self._write(trainer, pl_module, window, _BAD_UPDATE if window.updating else _BAD_WEIGHTS)
        self._tell(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._window is not None and self._window.updating:
            self._judge(trainer, pl_module, self._window, updated=True)
        self._tell(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._window = None

    def state_dict(self) -> dict[str, Any]:
        return {"written": self.written}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.written = state_dict.get("written", 0)

    def _judge(self, trainer: Trainer, pl_module: LightningModule, window: StepWindow, updated: bool = False) -> None:
        """Write a bundle if loss or gradient, or what the update made of the weights, is not finite; one host sync."""
        if self._done:
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
        verdict, reason = judge_step(loss, norm, window.loss_scale)
        if verdict is StepVerdict.APPLY:
            reason = _BAD_UPDATE
        if verdict is not StepVerdict.OVERFLOW and (not math.isfinite(loss) or trainer.is_global_zero):
            self._write(trainer, pl_module, window, reason)

    def _write(self, trainer: Trainer, pl_module: LightningModule, window: StepWindow, reason: str) -> None:
        if self._done or self.written >= self.max_bundles:
            return
        self._done = True
        findings = find_in_step(trainer, pl_module, window, self.ring)
        content = bundle_content(trainer, pl_module, window)
        size, path = tensor_megabytes(content), self._path(trainer, window.indices[-1])
        told: dict[str, Any] = {
            "cause": next((phase.value for phase in Phase if phase in findings), "unknown"),
            "finding": tell_step(findings),
            "recordings": recordings_of(trainer, window),
            "megabytes": round(size, 3),
            "replay": command_line("vestim_pl.replay", str(path)),
            "path": str(path),
        }
        what = f"to replay the step: {told['replay']}"
        if size > self.max_megabytes:
            told["path"], what = "", f"no bundle: {size:.3g} MB are over max_megabytes={self.max_megabytes:g}"
        else:
            located = {phase.value: finding.as_dict() for phase, finding in findings.items()}
            found = {"reason": reason, "findings": located, "not_located": window.rerun["error"]}
            try:
                write_bundle(path, content, bundle_summary(trainer, pl_module, window) | found | told)
            except OSError as failure:
                _log.warning("%s: the bundle could not be written: %s", path, failure)
                return
            self.written += 1
        where = f"epoch {trainer.current_epoch}, batch {', '.join(map(str, window.indices))}"
        self._due = (where, f"{reason}: {told['finding']}; ", what), told | {"batch": window.indices[-1]}

    def _tell(self, trainer: Trainer) -> None:
        if self._due is not None:
            ((where, why, what), told), self._due = self._due, None
            publish(trainer, "bundle", f"{where}: {'' if self._skip_told else why}{what}", **told)

    def _path(self, trainer: Trainer, batch_idx: int) -> Path:
        folder = Path(self.folder or Path(trainer.log_dir or trainer.default_root_dir) / "bundles")
        rank = f"-rank_{trainer.global_rank}" if trainer.world_size > 1 else ""
        return folder / f"epoch_{trainer.current_epoch:04d}-batch_{batch_idx:06d}{rank}.pt"
