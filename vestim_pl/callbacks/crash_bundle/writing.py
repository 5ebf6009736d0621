"""The crash bundle as a file: its content, how it is written, and the report on it."""

import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from vestim_pl.callbacks.crash_bundle.class_import import class_path
from vestim_pl.callbacks.crash_bundle.locating import describe_step, find_in_step, not_located
from vestim_pl.callbacks.crash_bundle.plain_data import plain_tensor, to_plain
from vestim_pl.callbacks.crash_bundle.recording import StepWindow
from vestim_pl.errors import FileError, name_error
from vestim_pl.files import whole_file, writing
from vestim_pl.lightning_support.events import plain_value, strict_json
from vestim_pl.lightning_support.loop_progress import update_is_complete
from vestim_pl.lightning_support.module_state import hyperparameters_argument
from vestim_pl.lightning_support.tensors import named_tensors
from vestim_pl.lightning_support.training_batches import locate_batch, nonfinite_fields
from vestim_pl.settings.command_line import command_line

__all__ = ["FORMAT", "BundleReport", "bundle_content", "free_path", "report_fault", "write_bundle"]

FORMAT = 3


@dataclass(frozen=True)
class BundleReport:
    """What to log about a fault and its bundle.

    Attributes:
        where: Epoch and batches.
        reason: What went wrong.
        values: Values of the event; ``path`` is empty if nothing was written.
        problem: Why nothing was written.

    """

    where: str
    reason: str
    values: dict[str, Any]
    problem: str = ""

    def line(self, cause_reported: bool, note: str = "") -> str:
        """One sentence for the log, with a remark on the bundle that ends in ``; ``.

        It leaves out what went wrong if another event has said it.
        """
        if self.problem:
            cause = "" if cause_reported else f"{self.reason}: "
            return f"{self.where}: {cause}{self.values['finding']}; {note}no bundle: {self.problem}"
        cause = "" if cause_reported else f"{self.reason}: {self.values['finding']}; "
        return f"{self.where}: {cause}{note}to replay the step: {self.values['replay']}"


def report_fault(
    trainer: Trainer, pl_module: LightningModule, window: StepWindow, reason: str, path: Path, ring: int, limit: float
) -> BundleReport:
    """Locate the fault and write the bundle; a failure to do so is reported and never raised.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        window: The step, with its state before the update copied.
        reason: What went wrong.
        path: File to write.
        ring: Number of ranges kept before a finding.
        limit: Largest bundle, in MB of tensors.

    """
    where = f"epoch {trainer.current_epoch}, batch {', '.join(map(str, window.indices))}"
    reason = reason.removeprefix(f"{where}: ")  # a guard's event begins with it
    rank = f", rank {trainer.global_rank}" if trainer.world_size > 1 else ""
    values: dict[str, Any] = {
        "cause": "unknown", "finding": "not located", "recordings": [], "megabytes": 0.0, "replay": "", "path": "",
        "batch": window.indices[-1],
    }  # fmt: skip
    try:
        problem = _locate_and_write(trainer, pl_module, window, reason, path, ring, limit, values)
    except FileError as failure:
        problem = str(failure)
    except Exception as failure:  # the training matters more than its bundle
        problem = f"{path} could not be written ({name_error(failure)})"
    return BundleReport(where + rank, reason, values, problem)


def _locate_and_write(
    trainer: Trainer, pl_module: LightningModule, window: StepWindow, reason: str, path: Path, ring: int,
    limit: float, values: dict[str, Any],
) -> str:  # fmt: skip
    """Fill in the values one by one, so that a failure keeps those before it; returns why nothing was written."""
    trace, missing = find_in_step(trainer, pl_module, window, ring), not_located(window)
    values["cause"] = trace.origin.frame.phase.value if trace.origin else "unknown"
    values["finding"] = describe_step(trace, missing)
    values["recordings"] = plain_value(_recordings(trainer, window))
    content = bundle_content(trainer, pl_module, window)
    size = sum(tensor.numel() * tensor.element_size() for _, tensor in named_tensors(content)) / 1e6
    values["megabytes"] = round(size, 3)
    if size > limit:
        return f"{size:.3g} MB are over max_megabytes={limit:g}"
    located = {phase: finding for phase, finding in trace.as_dict().items() if finding["frame"]["range"]["non_finite"]}
    found = {"reason": reason, "findings": located, "not_located": missing}
    written = {"path": str(path), "replay": command_line("vestim_pl.replay", str(path))}
    summary = _summary(trainer, pl_module, window, step=content["trainer"]["step"])
    write_bundle(path, content, summary | found | values | written)
    values.update(written)
    return ""


def bundle_content(trainer: Trainer, pl_module: LightningModule, window: StepWindow) -> dict[str, Any]:
    """Tensors and plain data of everything that `replay_bundle` needs."""
    inputs = window.inputs(trainer)
    updated = window.updating and update_is_complete(trainer)
    gradients = {name: p.grad for name, p in pl_module.named_parameters() if p.grad is not None}
    return {
        "module": _describe_module(pl_module),
        "trainer": {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step - updated,  # before the update
            "batches": trainer.num_training_batches,
            "max_epochs": trainer.max_epochs,
            "max_steps": trainer.max_steps,
            "accumulate_grad_batches": trainer.accumulate_grad_batches,
        },
        "parameters": window.copy.parameters(),
        "buffers": window.buffers,
        "extras": {key: to_plain(value) for key, value in window.extras.items()},
        "optimizer": window.copy.optimizer_state(),
        "batches": [to_plain(batch) for batch in inputs.batches],
        "indices": list(inputs.indices),
        "random": list(inputs.random),
        "precision": inputs.precision,
        "loss_scale": inputs.loss_scale,
        "applied": gradients if updated else None,  # after clipping and callbacks
    }


def write_bundle(path: Path, content: dict[str, Any], summary: dict[str, Any]) -> None:
    """Write everything to ``path`` and the summary to a JSON file beside it, both or neither.

    Raises:
        FileError: If the folder is not writable, the disk is full, and the like.

    """
    text = strict_json(summary, indent=1)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path.with_suffix(".json")) as readable, whole_file(path) as tensors:
        saved = apply_to_collection(content, Tensor, _on_cpu)
        torch.save({"format": FORMAT, "summary": json.loads(text), **saved}, tensors)
        readable.write_text(f"{text}\n", encoding="utf-8")


def free_path(path: Path) -> Path:
    """The path, with a number from 2 on if a bundle of that name exists."""
    names = chain([path], (path.with_stem(f"{path.stem}-{number}") for number in count(2)))
    return next(name for name in names if not any(os.path.lexists(name.with_suffix(end)) for end in (".pt", ".json")))


def _describe_module(module: LightningModule) -> dict[str, Any]:
    """Class, hyperparameters and modes of a module; those before and after ``__init__`` changed them."""
    return {
        "class": class_path(type(module)),
        "initial": to_plain(module.hparams_initial),
        "hparams": to_plain(module.hparams),
        "argument": hyperparameters_argument(module),
        "eval": [name for name, part in module.named_modules() if not part.training],
        "frozen": [name for name, parameter in module.named_parameters() if not parameter.requires_grad],
    }


def _summary(trainer: Trainer, pl_module: LightningModule, window: StepWindow, step: int) -> dict[str, Any]:
    """What a person wants to know about the run."""
    datamodule = trainer.datamodule  # type: ignore[attr-defined]
    return {
        "epoch": trainer.current_epoch,
        "step": step,
        "batches": list(window.indices),
        "precision": str(trainer.precision),
        "module": class_path(type(pl_module)),
        "hparams": dict(pl_module.hparams),
        "data": None if datamodule is None else dict(datamodule.hparams),
        "learning_rates": [group["lr"] for group in trainer.optimizers[0].param_groups],
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("torch", "lightning", "vestim_pl"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _recordings(trainer: Trainer, window: StepWindow) -> list[dict[str, Any]]:
    """Recordings and times of the batches, or only of their bad rows if there are any."""
    found: list[dict[str, Any]] = []
    for batch in window.batches:
        rows = sorted({row for rows in nonfinite_fields(batch).values() for row in rows})
        found += locate_batch(trainer, batch, rows)
    return found


def _on_cpu(tensor: Tensor) -> Tensor:
    """Copy to the CPU, without a subclass, in its own memory: torch saves a view with all of its base."""
    copied = plain_tensor(tensor).to("cpu", copy=True)
    return copied.contiguous() if copied.layout is torch.strided else copied
