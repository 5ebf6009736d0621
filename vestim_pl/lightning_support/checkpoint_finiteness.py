"""Keep NaN and infinities out of checkpoints: the files, and ModelCheckpoint's records of them."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Trainer

from vestim_pl.functional.finiteness import all_finite, find_nonfinite
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.lightning_classes import model_checkpoints
from vestim_pl.lightning_support.protocols import KeepsLatestState, callbacks_with
from vestim_pl.lightning_support.tensors import tensors_in

__all__ = ["CheckpointGate", "nonfinite_entries", "refresh_checkpoint", "remove_nonfinite_scores", "rewrite_latest"]


class CheckpointGate(CheckpointIO):
    """Passes all calls on to another ``CheckpointIO``, but asks before a checkpoint is written.

    Everything in Lightning that saves uses it: ``ModelCheckpoint`` of any kind, weights only, on exception, and
    ``Trainer.save_checkpoint``. If a checkpoint is not written, the earlier file in its place stays.

    Args:
        inner: Writes, loads and removes the files.
        admit: Called with checkpoint and path before each write; False skips the write.

    """

    def __init__(self, inner: CheckpointIO, admit: Callable[[dict[str, Any], Any], bool]) -> None:
        self.inner = inner
        self.admit = admit

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        if self.admit(checkpoint, path):
            self.inner.save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(self, *args: Any, **options: Any) -> dict[str, Any]:
        return self.inner.load_checkpoint(*args, **options)

    def remove_checkpoint(self, path: Any) -> None:
        self.inner.remove_checkpoint(path)

    def teardown(self) -> None:
        self.inner.teardown()


def nonfinite_entries(checkpoint: dict[str, Any], trained: Iterable[str]) -> list[str]:
    """Name up to three non-finite weights of a checkpoint, and its optimizers with non-finite state.

    Only the weights in ``trained`` count, because others may be infinite on purpose.

    Example::

        >>> weights = {"weight": torch.tensor(float("nan")), "mask": torch.tensor(-float("inf"))}
        >>> nonfinite_entries({"state_dict": weights}, ["weight"])
        ['weight']

    """
    states = checkpoint.get("optimizer_states", [])
    weights = {name: checkpoint["state_dict"][name] for name in trained if name in checkpoint["state_dict"]}
    if all_finite([*weights.values(), *tensors_in(states)]):
        return []
    bad = [f"state of optimizer {index}" for index, state in enumerate(states) if not all_finite(tensors_in(state))]
    return [tensor.name for tensor in find_nonfinite(weights.items(), limit=3)] + bad


def refresh_checkpoint(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Replace the states in a checkpoint that is being written by the present ones, after a recovery."""
    checkpoint["state_dict"] = trainer.strategy.lightning_module_state_dict()
    if "optimizer_states" not in checkpoint:
        return
    checkpoint["optimizer_states"] = [trainer.strategy.optimizer_state(optimizer) for optimizer in trainer.optimizers]
    checkpoint["lr_schedulers"] = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
    if precision := trainer.precision_plugin.state_dict():
        checkpoint[type(trainer.precision_plugin).__qualname__] = precision
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if state := callback.state_dict():
            checkpoint["callbacks"][callback.state_key] = state


def rewrite_latest(trainer: Trainer, since: int = -1) -> list[str]:
    """Write the checkpoints of the latest state again after a recovery, with an event for each; returns their paths.

    ``last.ckpt``, and the file of a ``ModelCheckpoint`` that keeps one file and has no monitor, may hold weights from
    after the state that was restored. Files from before it, whose optimizer step is at most ``since``, stay. So do
    files that were ranked by a metric, and files of a ModelCheckpoint that keeps several, because each of them is the
    record of one moment.
    """
    written: list[str] = []
    for keeper in callbacks_with(trainer, KeepsLatestState):
        keeper.rewrite_file(trainer)
    for callback in model_checkpoints(trainer):
        if _last_saved_step(callback) <= since:
            continue
        keeps_latest = callback.monitor is None and callback.save_top_k == 1
        latest = {callback.last_model_path} | ({callback.best_model_path} if keeps_latest else set())
        for path in sorted(latest - {""}):
            if not trainer.strategy.broadcast(Path(path).exists()):  # as rank zero sees it
                continue
            if trainer.is_global_zero and Path(path).is_symlink():
                Path(path).unlink()
            trainer.save_checkpoint(path, callback.save_weights_only)
            written.append(path)
            publish(trainer, "checkpoint_removed", f"overwrote {path} with the last good state", path=path)
    return written


def remove_nonfinite_scores(trainer: Trainer) -> list[str]:
    """Remove the checkpoints with a non-finite score from the disk and from ``ModelCheckpoint``'s records.

    Lightning ranks a NaN as the worst score and keeps the file while fewer than ``save_top_k`` exist. Publishes an
    event ``checkpoint_removed`` for each file, and returns their paths.
    """
    removed: list[str] = []
    for callback in model_checkpoints(trainer):
        for path in _nonfinite(trainer, callback.best_k_models):
            del callback.best_k_models[path]
            trainer.strategy.remove_checkpoint(path)
            removed.append(path)
            _rank(callback)
            publish(trainer, "checkpoint_removed", f"removed {path}: its score is not finite", path=path)
    return removed


def _last_saved_step(callback: Any) -> int:
    """Optimizer step of the latest file of a ModelCheckpoint, which no public attribute gives. lightning 2.6.6."""
    step: int = callback._last_global_step_saved
    return step


def _nonfinite(trainer: Trainer, scores: dict[str, torch.Tensor]) -> list[str]:
    """Paths whose score is non-finite on any rank, so that the records of all ranks stay equally long."""
    agree = trainer.strategy.reduce_boolean_decision
    return [path for path, score in scores.items() if agree(not math.isfinite(float(score)), all=False)]


def _rank(callback: Any) -> None:
    """Set a ModelCheckpoint's best and worst file from the scores that are left. lightning 2.6.6."""
    scores = {path: float(score) for path, score in callback.best_k_models.items()}
    best, worst = (min, max) if callback.mode == "min" else (max, min)
    callback.best_model_path = best(scores, key=scores.__getitem__) if scores else ""
    callback.best_model_score = callback.best_k_models.get(callback.best_model_path)
    full = 0 < callback.save_top_k == len(scores)
    callback.kth_best_model_path = worst(scores, key=scores.__getitem__) if full else ""
    unset = torch.tensor(float("inf") if callback.mode == "min" else -float("inf"))
    callback.kth_value = callback.best_k_models[callback.kth_best_model_path] if full else unset
