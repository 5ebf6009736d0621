"""Keeping checkpoints free of NaN and infinities, files and ModelCheckpoint's books alike."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.finiteness import all_finite
from vestim_pl.lightning_support.lightning_classes import model_checkpoints
from vestim_pl.lightning_support.protocols import KeepsLatestState, callbacks_with
from vestim_pl.lightning_support.step_finiteness import nonfinite_names
from vestim_pl.lightning_support.training_snapshot import tensors_in

__all__ = [
    "forget_nonfinite_scores",
    "poisoned_entries",
    "refresh_checkpoint",
    "rewrite_latest",
]


def poisoned_entries(checkpoint: dict[str, Any], trained: Iterable[str]) -> list[str]:
    """Names of the trained weights and of the optimizers in a checkpoint that hold a NaN or an infinity; the first few.

    Args:
        checkpoint: Lightning's checkpoint.
        trained: Names of the parameters that training changes; others may be infinite by design.

    Example::

        >>> weights = {"weight": torch.tensor(float("nan")), "mask": torch.tensor(-float("inf"))}
        >>> poisoned_entries({"state_dict": weights}, ["weight"])
        ['weight']

    """
    states = checkpoint.get("optimizer_states", [])
    weights = {name: checkpoint["state_dict"][name] for name in trained if name in checkpoint["state_dict"]}
    if all_finite([*weights.values(), *tensors_in(states)]):
        return []
    bad = [f"state of optimizer {index}" for index, state in enumerate(states) if not all_finite(tensors_in(state))]
    return nonfinite_names(weights.items()) + bad


def refresh_checkpoint(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Bring a checkpoint that is being written up to date with a trainer that has just been put right."""
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
    """Write the checkpoints that stand for the latest state anew, after that state was put right; an event for each.

    ``last.ckpt``, and the one file of a ``ModelCheckpoint`` without a monitor, may hold weights of the way that was
    just left. Files ranked by a metric were measured and stay, and so do files from before the state put back: what
    led there was good.

    Args:
        trainer: The trainer.
        since: Optimizer step of the state put back.

    Returns:
        Paths of the files written.

    """
    written: list[str] = []
    for keeper in callbacks_with(trainer, KeepsLatestState):
        keeper.write_anew(trainer)
    for callback in _model_checkpoints(trainer):
        if callback._last_global_step_saved <= since:
            continue
        latest = {callback.last_model_path} | ({callback.best_model_path} if callback.monitor is None else set())
        for path in sorted(latest - {""}):
            if not _exists(trainer, path):
                continue
            if trainer.is_global_zero and Path(path).is_symlink():
                Path(path).unlink()
            trainer.save_checkpoint(path, callback.save_weights_only)
            written.append(path)
            publish(trainer, "checkpoint_removed", f"wrote {path} anew with the last good state", path=path)
    return written


def forget_nonfinite_scores(trainer: Trainer) -> list[str]:
    """Remove the checkpoints whose score is NaN or infinite, from the disk and from ``ModelCheckpoint``'s books.

    Tells an event ``checkpoint_removed`` for each. Lightning ranks a NaN as infinitely bad and keeps the file while
    fewer than ``save_top_k`` exist.

    Returns:
        Paths of the files removed.

    """
    removed: list[str] = []
    for callback in _model_checkpoints(trainer):
        for path in _nonfinite(trainer, callback.best_k_models):
            del callback.best_k_models[path]
            trainer.strategy.remove_checkpoint(path)
            removed.append(path)
            _rank(callback)
            publish(trainer, "checkpoint_removed", f"removed {path}: its score is not finite", path=path)
    return removed


def _nonfinite(trainer: Trainer, scores: dict[str, torch.Tensor]) -> list[str]:
    """Paths whose score is not finite on some rank: the books of all ranks have to stay equally long."""
    agree = trainer.strategy.reduce_boolean_decision
    return [path for path, score in scores.items() if agree(not math.isfinite(float(score)), all=False)]


def _exists(trainer: Trainer, path: str) -> bool:
    """As seen from rank zero, so that all ranks agree."""
    return bool(trainer.strategy.broadcast(Path(path).exists()))


def _rank(callback: Any) -> None:
    """Best and worst of the books, from the scores that are left."""
    scores = {path: float(score) for path, score in callback.best_k_models.items()}
    best, worst = (min, max) if callback.mode == "min" else (max, min)
    callback.best_model_path = best(scores, key=scores.__getitem__) if scores else ""
    callback.best_model_score = callback.best_k_models.get(callback.best_model_path)
    full = 0 < callback.save_top_k == len(scores)
    callback.kth_best_model_path = worst(scores, key=scores.__getitem__) if full else ""
    unset = torch.tensor(float("inf") if callback.mode == "min" else -float("inf"))
    callback.kth_value = callback.best_k_models[callback.kth_best_model_path] if full else unset


def _model_checkpoints(trainer: Trainer) -> list[Any]:
    return model_checkpoints(trainer)
