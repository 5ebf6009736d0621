"""Measure what callbacks add to a training step, each alone and all of a preset together.

    python scripts/benchmarks/callback_overhead.py --samplings windows
    python scripts/benchmarks/callback_overhead.py --samplings streams --cases safer resilient "tensor by tensor"
    python scripts/benchmarks/callback_overhead.py --quick

Each case is the train command's loop with ``preset=safer`` and some callbacks. Before each step, a random choice
switches them on or off. Both kinds of step come from one training, so a machine that is slow for a while slows down
both. There are three figures:

- *in the hooks*: the time that the callbacks' own hooks of a step take. It does not include Lightning's cost of calling
  them, or their effect on the caches: a hook loads data and code that the optimizer then finds there.
- *added*: the same, less the clipping that the trainer no longer does because of the callbacks.
  AdaptiveGradientClipping clips instead, and after StepGuard the estimator clips with the norm that the guard has
  measured.
- *in the loop*: how much longer a step takes with the callbacks, from its start to the start of the next. It is the
  median over pairs of neighbouring steps, one with and one without, with its 95 % interval (for a median, 1.57 times
  the interquartile range over the root of the number; McGill et al. 1978). It includes everything. The stopwatch of the
  hooks runs only in every fifth step, and these steps do not count here.

``safer`` and ``resilient`` are the callbacks of the presets, without those that act on validations (EarlyStopping,
ModelCheckpoint, EpochSummary) and without AdaptiveLookback, which shortens the steps. Work that happens only in the
first steps is left out: the monitor is past its ``first_n_steps``, the probe past its steps, and the windows have
grown. Occasional work, such as a snapshot or a logged value, counts in proportion in the hooks, and hardly in medians.

``tensor by tensor`` is the reference: the usual kind of check, which reads one value from the device for each
parameter.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import common
import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from train_command import build_run, data_overrides, disabled

SAMPLINGS = {
    "windows": ["sampling=windows", "sampling.lookback=200", "sampling.stride=6"],
    "streams": ["sampling=streams", "sampling.lanes=16", "sampling.lookback=100"],
    "large": ["sampling=streams", "sampling.lanes=16", "sampling.lookback=100", "network.hidden_sizes=[128,64]"],
}
STEPS = {"windows": 400, "streams": 2000, "large": 800}
QUICK = {
    "windows": ["sampling.lookback=10", "sampling.stride=300", "sampling.batch_size=16"],
    "streams": ["sampling.lanes=64", "sampling.lookback=40", "sampling.burn_in=10"],
    "large": ["sampling.lanes=64", "sampling.lookback=40", "sampling.burn_in=10", "network.hidden_sizes=[8,4]"],
}
ALONE = {
    "step_guard": "StepGuard",
    "finite_parameters": "FiniteParameterGuard",
    "recovery": "DivergenceRecovery",
    "gradient_norm": "GradientNormMonitor",
    "crash_bundle": "CrashBundle",
    "adaptive_clipping": "AdaptiveGradientClipping",
    "gradient_noise": "GradientNoise",
    "warmup": "LearningRateWarmup",
    "lookback_warmup": "LookbackWarmup",
    "gradient_flow": "GradientFlowProbe",
}
SAFER = ("random_state", "flush_denormals", "event_log", "interrupt", *list(ALONE)[:4])
CASES = {
    **{name: (key,) for key, name in ALONE.items()},
    "safer": SAFER,
    "resilient": (*SAFER, *list(ALONE)[4:]),
    "tensor by tensor": (),
}
OTHERS = ("early_stopping", "epoch_summary", "checkpoint", "last_checkpoint")
GROUPS = "callbacks=[crash_bundle,default,warmup,adaptive_clipping,gradient_noise,lookback_warmup,gradient_flow]"
STEADY = [
    "callbacks.gradient_norm.first_n_steps=5",
    "callbacks.gradient_flow.steps=[0]",
    "callbacks.lookback_warmup.start=${sampling.lookback}",
]
HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "_after_update",  # a hook that some callbacks register on the optimizer
)
TARGET_PERCENT = 3.0  # of a step of 20 ms or more
SETTLING_STEPS = 20  # first steps, which do not count
WATCHED = 0.2  # fraction of the steps in which the hooks are timed
CLIPPING = "clipping"  # done by the trainer, and timed beside the callbacks


class TensorByTensor(pl.Callback):
    """Check each parameter for NaN and measure its norm, with one read from the device each."""

    def __init__(self) -> None:
        self.norms: dict[str, float] = {}

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if torch.isnan(loss).any().item() or torch.isinf(loss).any().item():
            raise ValueError("the loss is not finite")

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None:
                if not torch.isfinite(parameter.grad).all().item():
                    raise ValueError(f"the gradient of {name} is not finite")
                self.norms[name] = parameter.grad.norm(2).item()
        self.norms["total"] = sum(norm**2 for norm in self.norms.values()) ** 0.5

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for name, parameter in pl_module.named_parameters():
            if torch.isnan(parameter).any().item() or torch.isinf(parameter).any().item():
                raise ValueError(f"{name} is not finite")


@dataclass
class Steps:
    """Times of the steps with the callbacks, or without.

    Attributes:
        seconds: Of each step that ran without a stopwatch.
        watched: How many ran with it.
        hooks: Seconds of those within the callbacks' hooks, by callback, and within the trainer's clipping.

    """

    seconds: list[float] = field(default_factory=list)
    watched: int = 0
    hooks: dict[str, float] = field(default_factory=lambda: {CLIPPING: 0.0})

    def microseconds(self, part: str) -> float:
        """Return the mean time of a part of a step."""
        return self.hooks[part] / self.watched * 1e6


class Switch(pl.Callback):
    """Switch the callbacks of a training on and off by a coin, and record the times of both kinds of step.

    While they are off the trainer clips, as it does where no callback clips in its place. They are on at the end of an
    epoch; the first step of the next one, which has that in it, does not count.
    """

    def __init__(self, trainer: pl.Trainer, estimator: pl.LightningModule, steps: int) -> None:
        self.on, self.off = Steps(), Steps()
        self.differences: list[float] = []  # of neighbouring steps, seconds with minus seconds without
        self._neighbour: tuple[bool, float] | None = None
        self._callbacks: list[pl.Callback] = list(trainer.callbacks)  # type: ignore[attr-defined]
        self._clip, self._coin = trainer.gradient_clip_val, random.Random(0)  # noqa: S311 - a coin
        self._steps, self._made = steps, 0
        self._is_on, self._counts, self._start = True, False, 0.0
        self._watches: list[tuple[Any, str, Any]] = []
        self._watched = False
        self._within: dict[str, float] = {}  # seconds of this step
        for callback in self._callbacks:
            for hook in HOOKS:
                if getattr(type(callback), hook, None) is not getattr(pl.Callback, hook, None):
                    self._watches.append((callback, hook, self._timed(callback, hook, type(callback).__name__)))
        clipping = "configure_gradient_clipping"
        self._watches.append((estimator, clipping, self._timed(estimator, clipping, CLIPPING)))
        trainer.callbacks = [*self._callbacks, self]  # type: ignore[attr-defined]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._watch(True)  # times the hooks that are now registered on the optimizer in every step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if self._counts:
            steps = self.on if self._is_on else self.off
            if self._watched:
                steps.watched += 1
                for part, seconds in self._within.items():
                    steps.hooks[part] = steps.hooks.get(part, 0.0) + seconds
            else:
                steps.seconds.append(now - self._start)
                self._pair(now - self._start)
        self._made += 1
        trainer.should_stop = self._made >= SETTLING_STEPS + self._steps
        self._counts = self._made >= SETTLING_STEPS and not trainer.is_last_batch
        self._is_on = trainer.is_last_batch or self._coin.random() < 0.5
        trainer.callbacks = [*(self._callbacks if self._is_on else ()), self]  # type: ignore[attr-defined]
        trainer.gradient_clip_val = self._clip if self._is_on else 1.0
        self._watch(self._coin.random() < WATCHED)
        self._within = {}
        self._start = time.perf_counter()

    def _pair(self, seconds: float) -> None:
        if self._neighbour is None or self._neighbour[0] is self._is_on:
            self._neighbour = self._is_on, seconds
        else:
            longer = seconds - self._neighbour[1]
            self.differences.append(longer if self._is_on else -longer)
            self._neighbour = None

    def _watch(self, watched: bool) -> None:
        if watched is not self._watched:
            for owner, hook, timed in self._watches:
                if watched:
                    setattr(owner, hook, timed)
                else:
                    delattr(owner, hook)
        self._watched = watched

    def _timed(self, owner: pl.Callback | pl.LightningModule, hook: str, part: str) -> Any:
        original = getattr(owner, hook)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if not (self._is_on or part == CLIPPING):
                return None  # a hook of the optimizer, which Lightning does not call
            if not self._watched:
                return original(*args, **kwargs)
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self._within[part] = self._within.get(part, 0.0) + time.perf_counter() - start

        return timed


def measure(sampling: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one case and return its row."""
    wanted = CASES[name]
    groups, steady = GROUPS, STEADY
    left_out = [key for key in (*SAFER, *list(ALONE)[4:]) if key not in wanted]
    if sampling != "windows":  # streams have no windows that could grow
        groups, steady = groups.replace("lookback_warmup,", ""), STEADY[:-1]
        left_out = [key for key in left_out if key != "lookback_warmup"]
    overrides = ["+preset=safer", groups, *SAMPLINGS[sampling], *(QUICK[sampling] if options.quick else ())]
    overrides += [*options.override, *data_overrides(options.data), *steady]
    overrides += ["scheduler=none", "trainer.max_epochs=1000000", "+trainer.limit_val_batches=0"]
    overrides += ["+trainer.enable_checkpointing=false"]  # Lightning would add a callback of its own
    overrides += disabled(*OTHERS, *left_out)
    overrides += ["trainer.gradient_clip_val=null"] if "adaptive_clipping" in wanted else []
    with tempfile.TemporaryDirectory() as folder:
        run = build_run(overrides, folder)
        if name == "tensor by tensor":
            run.trainer.callbacks.append(TensorByTensor())  # type: ignore[attr-defined]
        switch = Switch(run.trainer, run.estimator, options.steps or STEPS[sampling])
        run.trainer.fit(run.estimator, datamodule=run.datamodule)
    return table_row(sampling, name, switch.on, switch.off, switch.differences)


def table_row(sampling: str, name: str, on: Steps, off: Steps, differences: Sequence[float]) -> dict[str, Any]:
    """Return what a case adds to a step.

    Args:
        sampling: Name of the sampling.
        name: Name of the case.
        on: Steps with the callbacks.
        off: Steps of the same training without.
        differences: Seconds by which steps with the callbacks are longer than neighbours without.

    """
    parts = {part: on.microseconds(part) for part in on.hooks if part != CLIPPING}
    hooks = sum(parts.values())
    added = hooks + on.microseconds(CLIPPING) - off.microseconds(CLIPPING)
    bare, loop = statistics.median(off.seconds) * 1e6, statistics.median(differences) * 1e6
    low, _, high = statistics.quantiles(differences, n=4)
    return {
        "sampling": sampling,
        "callbacks": name,
        "ms a step without": bare / 1e3,
        "us in the hooks": hooks,
        "us added": added,
        "us in the loop": loop,
        "+-": 1.57 * (high - low) * 1e6 / len(differences) ** 0.5,
        "hooks, % of the step": hooks / bare * 100,
        "added, % of the step": added / bare * 100,
        "loop, % of the step": loop / bare * 100,
        "target": TARGET_PERCENT if name in ("safer", "resilient") else None,
    } | ({"us by callback": parts} if len(parts) > 1 else {})


def main(arguments: Sequence[str] | None = None) -> None:
    """Time all cases and print the table."""
    parser = common.arguments("What the callbacks cost a training step", "callback_overhead", rounds=None)
    parser.add_argument("--samplings", nargs="+", choices=list(SAMPLINGS), default=list(SAMPLINGS))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--steps", type=int, help=f"steps of a case; by default {STEPS}")
    parser.add_argument("--data", help="folder of recordings; the demo data by default")
    parser.add_argument("--override", nargs="*", default=[], help="overrides for the train command")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)  # before the first parallel operation, as the train command does it
    if options.quick:
        options.steps = 100
    rows = [
        measure(sampling, name, options)
        for sampling in options.samplings
        for name in options.cases
        if sampling == "windows" or name != "LookbackWarmup"
    ]
    settings: dict[str, Any] = {"data": options.data or "demo", "quick": options.quick}
    common.report("What the callbacks cost a training step", rows, options.json, settings)


if __name__ == "__main__":
    main()
