"""A step that went wrong: looked at, written to a bundle, and told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from vestim_pl.callbacks.crash_bundle.bundle_content import bundle_content, bundle_summary, recordings_of
from vestim_pl.callbacks.crash_bundle.bundle_file import tensor_megabytes, write_bundle
from vestim_pl.callbacks.crash_bundle.bundle_finding import find_in_step, not_located
from vestim_pl.callbacks.crash_bundle.messages import tell_step
from vestim_pl.callbacks.crash_bundle.step_window import StepWindow
from vestim_pl.errors import FileError, name_error
from vestim_pl.lightning_support.event_lines import plain_value
from vestim_pl.lightning_support.step_trace import Phase
from vestim_pl.settings.command_line import command_line

__all__ = ["BundleReport", "report_fault"]


@dataclass(frozen=True)
class BundleReport:
    """What there is to tell of a fault and its bundle.

    Attributes:
        where: Epoch and batches.
        reason: What went wrong.
        values: Those of the event; ``path`` is empty where nothing was written.
        problem: Why nothing was written.

    """

    where: str
    reason: str
    values: dict[str, Any]
    problem: str = ""

    def line(self, told: bool, note: str = "") -> str:
        """One sentence for a person.

        Args:
            told: Whether the event before has told what went wrong.
            note: What else there is to say of the bundle, ending in ``; ``.

        Example::

            >>> BundleReport("batch 4", "the loss is nan", {"finding": "found", "replay": "replay it"}).line(told=True)
            'batch 4: to replay the step: replay it'

        """
        if self.problem:
            cause = "" if told else f"{self.reason}: "
            return f"{self.where}: {cause}{self.values['finding']}; {note}no bundle: {self.problem}"
        cause = "" if told else f"{self.reason}: {self.values['finding']}; "
        return f"{self.where}: {cause}{note}to replay the step: {self.values['replay']}"


def report_fault(
    trainer: Trainer, pl_module: LightningModule, window: StepWindow, reason: str, path: Path, ring: int, limit: float
) -> BundleReport:
    """Find what is not finite and write the bundle; whatever goes wrong with that is told and raises nothing.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        window: The step; its state before the update is copied.
        reason: What went wrong.
        path: File to write.
        ring: Number of ranges kept before a finding.
        limit: Most MB of tensors in a bundle.

    """
    where = f"epoch {trainer.current_epoch}, batch {', '.join(map(str, window.indices))}"
    reason = reason.removeprefix(f"{where}: ")  # a guard's event has said where
    rank = f", rank {trainer.global_rank}" if trainer.world_size > 1 else ""
    told: dict[str, Any] = {
        "cause": "unknown", "finding": "not located", "recordings": [], "megabytes": 0.0, "replay": "", "path": "",
        "batch": window.indices[-1],
    }  # fmt: skip
    try:
        problem = _look_and_write(trainer, pl_module, window, reason, path, ring, limit, told)
    except FileError as failure:
        problem = str(failure)
    except Exception as failure:  # the training matters more than its bundle
        problem = f"{path} could not be written ({name_error(failure)})"
    return BundleReport(where + rank, reason, told, problem)


def _look_and_write(
    trainer: Trainer, pl_module: LightningModule, window: StepWindow, reason: str, path: Path, ring: int,
    limit: float, told: dict[str, Any],
) -> str:  # fmt: skip
    """Fill in what is told as it becomes known; returns why nothing was written, if so."""
    findings = find_in_step(trainer, pl_module, window, ring)
    missing = not_located(window)
    told["cause"] = next((phase.value for phase in Phase if phase in findings), "unknown")
    told["finding"] = tell_step(findings, missing)
    told["recordings"] = plain_value(recordings_of(trainer, window))
    content = bundle_content(trainer, pl_module, window)
    size = tensor_megabytes(content)
    told["megabytes"] = round(size, 3)
    if size > limit:
        return f"{size:.3g} MB are over max_megabytes={limit:g}"
    bad = {phase: finding for phase, finding in findings.items() if finding.frame.range.non_finite}
    located = {phase.value: finding.as_dict() for phase, finding in bad.items()}
    found = {"reason": reason, "findings": located, "not_located": missing}
    written = {"path": str(path), "replay": command_line("vestim_pl.replay", str(path))}
    write_bundle(path, content, bundle_summary(trainer, pl_module, window) | found | told | written)
    told.update(written)
    return ""
