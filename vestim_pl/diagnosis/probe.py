"""Measure a few steps on a copy of the estimator, for the checks before a training."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from vestim_pl.callbacks.gradients.gradient_flow import GradientFlow, measure_gradient_flow
from vestim_pl.data import VoltageDataModule
from vestim_pl.diagnosis.checks.attention_span import AttentionSpan, measure_attention_span
from vestim_pl.diagnosis.checks.learning_rate import RangeTest
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.lightning_support.step_rerun import silent_copy
from vestim_pl.networks.gradient_clipping import clip_gradients

__all__ = ["Measurements", "backward", "detached_copy", "measure", "narrow", "new_optimizer", "seconds_of", "step"]

STEPS = 12
"""First optimizer steps whose gradient norms are measured."""
SWEEP = 40
"""Learning rates of the range test, from 1e-6 to 10; fewer if steps are slow, at least LEAST_SWEEP."""
LEAST_SWEEP = 15
SWEEP_LANES = 64
FLOW_LANES = 16
TIMED = 4
BUDGET = 5.0
"""Seconds for the first steps, and again for the comparison of precisions."""
MILLIVOLTS = 1000.0


@dataclass(frozen=True)
class Measurements:
    """Measurements of a few steps.

    Attributes:
        norms: Gradient norm before clipping, one per step; the largest value where values are clipped, the largest
            network's where there are several.
        step_seconds: Median seconds of a step.
        batches: Batches of the training split.
        validation_seconds: Median seconds of a validation batch.
        validation_batches: Batches of the validation split.
        flows: Gradient by lag, one per recurrent or attention layer; empty without either.
        spans: Attention by lag, one per attention layer; empty without one.
        range_test: Loss over a growing learning rate.
        dropout_scatter_mv: Scatter of the estimate in mV with dropout on, over repeated passes.
        full_seconds: Median seconds of forward and backward in 32 bits; None unless precision is mixed.
        mixed_seconds: The same in the configured precision.
        peak_bytes: Peak memory of the process, or of the device; None on Windows, where Python cannot read it.
        available_bytes: Memory of the machine, or of the device; None if unknown.
        where: Name of that memory.

    """

    norms: Sequence[float]
    step_seconds: float
    batches: int
    validation_seconds: float
    validation_batches: int
    flows: Sequence[GradientFlow]
    spans: Sequence[AttentionSpan]
    range_test: RangeTest
    dropout_scatter_mv: float
    full_seconds: float | None
    mixed_seconds: float | None
    peak_bytes: int | None
    available_bytes: int | None
    where: str


def measure(
    estimator: VoltageEstimator, datamodule: VoltageDataModule, trainer: Trainer, clip: tuple[float | None, str]
) -> Measurements:
    """Measure on copies; the estimator, the global random state and the disk stay unchanged.

    Args:
        estimator: As at the start of a training.
        datamodule: The recordings, loaded.
        trainer: Has the device and the precision; it does not fit.
        clip: Threshold of clipping, None for none, and its algorithm, ``norm`` or ``value``.

    Raises:
        ConfigurationError: If no batch has a scored step.

    """
    loader = datamodule.train_dataloader()
    with isolate_rng():
        estimator = detached_copy(estimator.to(trainer.strategy.root_device), trainer)
        validation = _validation(detached_copy(estimator, trainer), datamodule.val_dataloader())
        norms, seconds, batch = _first_steps(detached_copy(estimator, trainer), loader, clip)
        full, mixed = _precisions(estimator, trainer, batch)
        return Measurements(
            norms=norms,
            step_seconds=median(seconds) * (mixed / full if full and mixed else 1.0),
            batches=len(loader),
            validation_seconds=validation[0],
            validation_batches=validation[1],
            flows=_flows(detached_copy(estimator, trainer), batch),
            spans=_spans(detached_copy(estimator, trainer), batch),
            range_test=_range_test(detached_copy(estimator, trainer), batch),
            dropout_scatter_mv=_dropout_scatter(detached_copy(estimator, trainer), batch),
            full_seconds=full,
            mixed_seconds=mixed,
            **_memory(trainer.strategy.root_device),
        )


def _first_steps(
    estimator: VoltageEstimator, batches: Iterable[SequenceBatch], clip: tuple[float | None, str]
) -> tuple[list[float], list[float], SequenceBatch]:
    """Train with the configured settings; return gradient norms, seconds of every step, and the first batch."""
    threshold, algorithm = clip
    optimizer = new_optimizer(estimator)
    norms: list[float] = []
    seconds: list[float] = []
    first: SequenceBatch | None = None
    begun = started = time.perf_counter()
    for batch in batches:
        batch = SequenceBatch(*(tensor.to(estimator.device) for tensor in batch))
        backward(estimator, batch)
        if not bool((batch.weight > 0).any()):  # burn-in of streams, which only carries the state
            continue
        first = narrow(batch, len(batch.fresh)) if first is None else first
        norms.append(float(clip_gradients(estimator.network, threshold, algorithm)))
        step(optimizer)
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        if len(norms) == STEPS or started - begun > BUDGET:
            break
    if first is None:
        raise ConfigurationError("sampling: no batch has a scored step; lower sampling.burn_in or sampling.lookback")
    return norms, seconds, first


def _validation(estimator: VoltageEstimator, loader: Any) -> tuple[float, int]:
    """Median seconds of the first validation batches without the very first, and the number of batches."""
    estimator.eval()
    seconds: list[float] = []
    begun = started = time.perf_counter()
    with torch.no_grad(), estimator.trainer.precision_plugin.forward_context():
        for batch in loader:
            estimator.validation_step(SequenceBatch(*(tensor.to(estimator.device) for tensor in batch)), 0)
            seconds.append(time.perf_counter() - started)
            started = time.perf_counter()
            if len(seconds) > TIMED or started - begun > BUDGET:
                break
    return median(seconds[1:] or seconds or [0.0]), len(loader)


def _flows(estimator: VoltageEstimator, batch: SequenceBatch) -> list[GradientFlow]:
    few = narrow(batch, FLOW_LANES)
    try:
        return measure_gradient_flow(estimator, lambda: estimator.training_step(few, 0))
    except ConfigurationError:  # no recurrent layer, no attention
        return []


def _spans(estimator: VoltageEstimator, batch: SequenceBatch) -> list[AttentionSpan]:
    few = narrow(batch, FLOW_LANES)
    return measure_attention_span(estimator, lambda: estimator.training_step(few, 0))


def _range_test(estimator: VoltageEstimator, batch: SequenceBatch) -> RangeTest:
    """Sweep on one batch without dropout, so that only the rate changes the loss."""
    few = narrow(batch, SWEEP_LANES)
    for module in estimator.modules():
        if isinstance(module, nn.Dropout):  # in evaluation mode of the whole cuDNN refuses a backward pass
            module.eval()
    update_ratio = _update_ratio(detached_copy(estimator, estimator.trainer), few)
    optimizer = new_optimizer(estimator)
    rates: list[float] = []
    losses: list[float] = []
    seconds = seconds_of(lambda: backward(estimator, few))
    if LEAST_SWEEP * seconds > BUDGET:
        few = narrow(few, FLOW_LANES)
    points = min(SWEEP, max(LEAST_SWEEP, int(BUDGET / seconds)))
    for index in range(points):
        rate = 1e-6 * 10 ** (7 * index / (points - 1))
        losses.append(backward(estimator, few))
        rates.append(rate)
        if not losses[-1] <= 4 * losses[0]:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate
        step(optimizer)
    return RangeTest(rates, losses, update_ratio)


def _update_ratio(estimator: VoltageEstimator, batch: SequenceBatch) -> float:
    """Norm of the first update at the configured rate, divided by the norm of the weights."""
    before = [parameter.detach().clone() for parameter in estimator.parameters()]
    backward(estimator, batch)
    step(new_optimizer(estimator))
    moved = [p.detach() - old for p, old in zip(estimator.parameters(), before, strict=True)]
    return float(torch.nn.utils.get_total_norm(moved) / torch.nn.utils.get_total_norm(before))


def _dropout_scatter(estimator: VoltageEstimator, batch: SequenceBatch) -> float:
    few = narrow(batch, FLOW_LANES)
    with torch.no_grad():
        passes = torch.stack([estimator(few.inputs)[0][:, -1] for _ in range(8)])
    return float(passes.std(dim=0).mean()) * MILLIVOLTS


def _precisions(
    estimator: VoltageEstimator, trainer: Trainer, batch: SequenceBatch
) -> tuple[float | None, float | None]:
    """Seconds of a step in full and in mixed precision, measured in turns; None unless the trainer's is mixed."""
    if "mixed" not in str(trainer.precision):
        return None, None

    def mixed() -> None:
        with trainer.precision_plugin.forward_context():
            backward(estimator, batch)

    full_seconds, mixed_seconds = [], []
    begun = time.perf_counter()
    for index in range(TIMED + 1):
        if index > 1 and time.perf_counter() - begun > BUDGET:
            break
        full_seconds.append(seconds_of(lambda: backward(estimator, batch)))
        mixed_seconds.append(seconds_of(mixed))
    return median(full_seconds[1:]), median(mixed_seconds[1:])


def _memory(device: torch.device) -> Mapping[str, Any]:
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return {"peak_bytes": torch.cuda.max_memory_allocated(device), "available_bytes": total, "where": str(device)}
    return {"peak_bytes": _peak_memory(), "available_bytes": _machine_memory(), "where": "memory"}


def _peak_memory() -> int | None:
    """Peak resident bytes of this process; None where the standard library lacks it, as on Windows."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _machine_memory() -> int | None:
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def detached_copy(estimator: VoltageEstimator, trainer: Trainer) -> VoltageEstimator:
    """Copy an estimator; the copy logs nothing and starts with fresh lanes."""
    return cast("VoltageEstimator", silent_copy(trainer, estimator).train())


def new_optimizer(estimator: VoltageEstimator) -> torch.optim.Optimizer:
    """Build the optimizer of the estimator's settings."""
    options: dict[str, Any] = dict(estimator.hparams["optimizer"])
    optimizer: torch.optim.Optimizer = getattr(torch.optim, options.pop("name"))(estimator.parameters(), **options)
    return optimizer


def step(optimizer: torch.optim.Optimizer) -> None:
    """Update with the present gradients; some optimizers need a closure."""
    optimizer.step(lambda: 0.0)


def backward(estimator: VoltageEstimator, batch: SequenceBatch) -> float:
    """Return the loss of a batch and leave its gradient in the parameters."""
    estimator.zero_grad()
    loss = estimator.training_step(batch, 0)
    loss.backward()
    return float(loss.detach())


def narrow(batch: SequenceBatch, lanes: int) -> SequenceBatch:
    """Return the first lanes with a scored step, each started fresh."""
    chosen = (batch.weight > 0).any(dim=1).nonzero().flatten()[:lanes]
    return SequenceBatch(*(tensor[chosen] for tensor in batch))._replace(
        fresh=torch.ones(len(chosen), dtype=torch.bool, device=batch.target.device)
    )


def seconds_of(work: Callable[[], object]) -> float:
    """Time a function in seconds, including work on a GPU."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
