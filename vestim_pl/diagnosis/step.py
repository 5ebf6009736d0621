"""One training step on a copy of an estimator, outside of any training."""

import time
from collections.abc import Callable
from typing import Any, cast

import torch
from lightning.pytorch import Trainer

from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.lightning_support.step_rerun import silent_copy

__all__ = ["backward", "copy_aside", "narrow", "new_optimizer", "seconds_of", "step"]


def copy_aside(estimator: VoltageEstimator, trainer: Trainer) -> VoltageEstimator:
    """Copy in training mode that logs nothing."""
    return cast("VoltageEstimator", silent_copy(trainer, estimator).train())


def new_optimizer(estimator: VoltageEstimator) -> torch.optim.Optimizer:
    """Optimizer as the estimator's settings say."""
    options: dict[str, Any] = dict(estimator.hparams["optimizer"])
    optimizer: torch.optim.Optimizer = getattr(torch.optim, options.pop("name"))(estimator.parameters(), **options)
    return optimizer


def step(optimizer: torch.optim.Optimizer) -> None:
    """Update with the gradients that are there; some optimizers ask for a closure."""
    optimizer.step(lambda: 0.0)


def backward(estimator: VoltageEstimator, batch: SequenceBatch) -> float:
    """Loss of a batch, its gradient left in the parameters."""
    estimator.zero_grad()
    loss = estimator.training_step(batch, 0)
    loss.backward()
    return float(loss.detach())


def narrow(batch: SequenceBatch, lanes: int) -> SequenceBatch:
    """The first lanes in which a step counts, each started anew."""
    chosen = (batch.weight > 0).any(dim=1).nonzero().flatten()[:lanes]
    return SequenceBatch(*(tensor[chosen] for tensor in batch))._replace(
        fresh=torch.ones(len(chosen), dtype=torch.bool, device=batch.target.device)
    )


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that some work takes, on a GPU too."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
