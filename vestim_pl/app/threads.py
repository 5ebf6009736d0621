"""Choose the number of threads that a command computes with on the CPU."""

import copy
import json
import logging
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities.seed import isolate_rng

from vestim_pl.estimator import VoltageEstimator

__all__ = ["choose_threads", "decide_threads", "recorded_threads", "time_steps", "trial_step"]

_log = logging.getLogger("vestim_pl")

_SET_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_GAIN = 0.3  # of twice the threads: a step must be 1.3 times as fast
_TRIAL_STEPS = 32  # time steps; what each of them gains from threads does not depend on the lookback
_BLOCKS = 2  # of steps on each number of threads
_BLOCK_SECONDS = 0.1


def choose_threads(trainer: pl.Trainer, estimator: VoltageEstimator, sampling: Any, ckpt_path: str | None) -> None:
    """Set the number of torch's threads for a network on the CPU, and log it.

    A small network gains little from a second thread and loses much by it on a busy machine, where each operation waits
    for the thread whose core is taken. So the number is doubled only while that makes a step at least 1.3 times as
    fast, which is measured on a copy, in about half a second on two cores. With a checkpoint the number is that of the
    run that wrote it, since another number rounds differently.

    Nothing is done where the user has set ``OMP_NUM_THREADS`` or ``MKL_NUM_THREADS``, on other devices, with several
    processes (Lightning divides the cores among them), and outside a command, where torch's threads are the caller's.

    Args:
        trainer: The trainer, built.
        estimator: The estimator, as training starts with it; stays as it is.
        sampling: Sampling of the training, for the shape of a batch.
        ckpt_path: Checkpoint that the command starts from, None for a new run.

    """
    if not HydraConfig.initialized() or any(name in os.environ for name in _SET_BY_USER):
        return
    most = _threads_at_start()
    torch.set_num_threads(most)  # an earlier job of a multirun may have chosen fewer
    if most == 1 or trainer.world_size > 1 or trainer.strategy.root_device.type != "cpu":
        return
    if (kept := recorded_threads(ckpt_path)) is not None:
        threads, reason = min(kept, most), "as in the run that wrote the checkpoint"
    else:
        step = trial_step(estimator, sampling)
        with isolate_rng():
            threads, reason = decide_threads(most, lambda few, more: time_steps(step, few, more))
    torch.set_num_threads(threads)
    other = most if threads < most else 1
    _log.info("computing on %d of %d threads, %s; OMP_NUM_THREADS=%d changes that", threads, most, reason, other)


def decide_threads(most: int, seconds: Callable[[int, int], tuple[float, float]]) -> tuple[int, str]:
    """Double the number of threads as long as that pays.

    Args:
        most: Most threads.
        seconds: Takes two numbers of threads, returns the seconds of a step on each.

    Returns:
        The number, and the reason.

    Example::

        >>> decide_threads(4, lambda few, more: (1.0 / few**0.5, 1.0 / more**0.5))[0]
        4
        >>> decide_threads(4, lambda few, more: (0.020, 0.018))
        (1, 'because a trial step takes 20 ms on 1 and 18 ms on 2')

    """
    threads, reason = 1, "the only one"
    while threads < most:
        more = min(2 * threads, most)
        before, after = seconds(threads, more)
        reason = f"because a trial step takes {before * 1e3:.3g} ms on {threads} and {after * 1e3:.3g} ms on {more}"
        if before < after * (1 + _GAIN * (more / threads - 1)):
            break
        threads = more
    return threads, reason


def time_steps(step: Callable[[], object], few: int, more: int) -> tuple[float, float]:
    """Median seconds of a step on two numbers of threads.

    Blocks of steps take turns, so that a busy moment of the machine is less likely to slow one number alone. Each block
    begins with a step that is not counted, in which the threads wake up and fill their caches.
    """
    seconds: dict[int, list[float]] = {few: [], more: []}
    for threads in (few, more) * _BLOCKS:
        torch.set_num_threads(threads)
        step()
        begun = start = time.perf_counter()
        while start - begun < _BLOCK_SECONDS:
            step()
            end = time.perf_counter()
            seconds[threads].append(end - start)
            start = end
    return median(seconds[few]), median(seconds[more])


def trial_step(estimator: VoltageEstimator, sampling: Any) -> Callable[[], None]:
    """Forward and backward pass of a copy of the estimator on zeros, with the shape of a batch but a short lookback."""
    trial = copy.deepcopy(estimator).cpu().train().requires_grad_(True)
    lanes = getattr(sampling, "batch_size", None) or sampling.lanes
    inputs = torch.zeros(lanes, min(sampling.lookback, _TRIAL_STEPS), len(estimator.hparams["features"]))

    def step() -> None:
        trial(inputs)[0].square().mean().backward()

    return step


def recorded_threads(ckpt_path: str | None) -> int | None:
    """Threads of the run that wrote a checkpoint, as its ``provenance.json`` has them; None where it is unknown."""
    if ckpt_path is None:
        return None
    try:
        threads = json.loads((Path(ckpt_path).parents[1] / "provenance.json").read_text())["machine"]["torch_threads"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return threads if isinstance(threads, int) and threads > 0 else None


@cache
def _threads_at_start() -> int:
    return torch.get_num_threads()
