"""What the callbacks cost a training step, each alone and all of a preset together.

    python scripts/benchmarks/callback_overhead.py --samplings windows
    python scripts/benchmarks/callback_overhead.py --samplings streams --cases safer resilient "tensor by tensor"
    python scripts/benchmarks/callback_overhead.py --quick

Each case is the train command's loop with ``preset=safer`` and some callbacks; ``none`` has none, and has a turn right
before each of the others. Two figures:

- *in the hooks*: time between entry and return of the callbacks' own hooks of a step, summed and divided by the steps.
  It leaves out what calling them costs Lightning, and what they do to the caches: data that a hook had to bring there
  the optimizer finds there.
- *in the loop*: how much longer a step takes, from its start to that of the next, than without callbacks, the median
  over the rounds. It has everything in it, and the noise of two loops: believe it where steps are short.

``safer`` and ``resilient`` are the presets' callbacks without those that look at validations (EarlyStopping,
ModelCheckpoint, EpochSummary) and AdaptiveLookback, which shortens the steps. What belongs to the first steps only is
left out: the monitor is past its ``first_n_steps``, the probe past its steps, the windows have grown. What comes now
and then, such as a snapshot or a logged value, counts by its share.

The trainer clips in every case but those with AdaptiveGradientClipping, which clips in its place. What the trainer's
own clipping takes is in a column of its own: *in the hooks* counts all of what the callback does, *in the loop* only
what it takes more than the trainer would.

``tensor by tensor`` is the reference: the checks as they are often written, a read from the device for each parameter.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import common
import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from train_command import build_run, data_overrides, disabled
from workers import Channel, median, run_worker, start_workers, take_turns

from vestim_pl.functional.denormals import flush_denormals

SAMPLINGS = {
    "windows": ["sampling=windows", "sampling.lookback=200", "sampling.stride=6"],
    "streams": ["sampling=streams", "sampling.lanes=16", "sampling.lookback=100"],
    "large": ["sampling=streams", "sampling.lanes=16", "sampling.lookback=100", "network.hidden_sizes=[128,64]"],
}
STEPS = {"windows": 8, "streams": 40, "large": 12}  # of a turn, that count
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
    "none": (),
    **{name: (key,) for key, name in ALONE.items()},
    "safer": SAFER,
    "resilient": (*SAFER, *list(ALONE)[4:]),
    "tensor by tensor": (),
}
OTHERS = ("early_stopping", "epoch_summary", "checkpoint")
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
    "_after_update",  # what some register on the optimizer
)
REFERENCE_MS = 20.0  # the step that the target is about
TARGET_PERCENT = 3.0
SETTLING_STEPS = 2  # of a turn, that do not count
CLIPPING = "clipping"  # by the trainer, in the stopwatch beside the callbacks


class TensorByTensor(pl.Callback):
    """Stops on a NaN, and knows the norms: one read from the device after the other."""

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


class Stopwatch:
    """Adds up the seconds within callbacks' hooks of a step, by callback, and within the trainer's clipping."""

    def __init__(self, callbacks: Sequence[pl.Callback], pl_module: pl.LightningModule | None = None) -> None:
        self.seconds: dict[str, float] = {CLIPPING: 0.0}
        for callback in callbacks:
            for hook in HOOKS:
                if getattr(type(callback), hook, None) is not getattr(pl.Callback, hook, None):
                    self._wrap(callback, hook, type(callback).__name__)
        if pl_module is not None:
            self._wrap(pl_module, "configure_gradient_clipping", CLIPPING)

    def _wrap(self, owner: pl.Callback | pl.LightningModule, hook: str, name: str) -> None:
        original = getattr(owner, hook)
        self.seconds.setdefault(name, 0.0)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - start

        setattr(owner, hook, timed)


class Pace(pl.Callback):
    """Gives an epoch a turn, and tells the seconds of its steps and of the hooks in them."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.stopwatch = Stopwatch([])
        self._turn = False
        self._last = self._start = 0.0
        self._before: dict[str, float] = {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        last = int(trainer.num_training_batches) - 1
        if batch_idx == 0:
            if not self._turn:
                self.channel.send(ready=True)
            self.channel.receive()
            self._turn = True
        elif batch_idx == SETTLING_STEPS:
            self._before = dict(self.stopwatch.seconds)
            self._start = time.perf_counter()
        elif batch_idx == last:
            steps = last - SETTLING_STEPS
            step = (time.perf_counter() - self._start) / steps
            hooks = {name: (now - self._before[name]) / steps for name, now in self.stopwatch.seconds.items()}
            self.channel.send(steps=steps, step=step, hooks=hooks)


def serve(channel: Channel, case: dict[str, Any]) -> None:
    """Worker: one case."""
    flush_denormals(True)  # before the first parallel operation, as the train command does it
    wanted = CASES[case["name"]]
    groups, steady = GROUPS, STEADY
    left_out = [name for name in (*SAFER, *list(ALONE)[4:]) if name not in wanted]
    if case["sampling"] != "windows":  # which have no windows that could grow
        groups, steady, left_out = (
            groups.replace("lookback_warmup,", ""),
            STEADY[:-1],
            [name for name in left_out if name != "lookback_warmup"],
        )
    overrides = ["+preset=safer", groups, *case["sampling_overrides"], *data_overrides(case["data"]), *steady]
    overrides += ["scheduler=none", "trainer.max_epochs=1000000", "+trainer.limit_val_batches=0"]
    overrides += [f"+trainer.limit_train_batches={case['steps'] + SETTLING_STEPS + 1}"]  # an epoch is a turn
    overrides += ["+trainer.enable_checkpointing=false"]  # Lightning would add a callback of its own
    overrides += disabled(*OTHERS, *left_out)
    overrides += ["trainer.gradient_clip_val=null"] if "adaptive_clipping" in wanted else []
    with tempfile.TemporaryDirectory() as folder:
        pace = Pace(channel)
        run = build_run(overrides, folder, [pace])
        callbacks: list[pl.Callback] = run.trainer.callbacks  # type: ignore[attr-defined]
        if case["name"] == "tensor by tensor":
            callbacks.append(TensorByTensor())
        pace.stopwatch = Stopwatch(callbacks[1:], run.estimator)
        run.trainer.fit(run.estimator, datamodule=run.datamodule)


def measure(sampling: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one sampling."""
    names = [name for name in options.cases if sampling == "windows" or name != "LookbackWarmup"]
    small = QUICK[sampling] if options.quick else []
    shared = {
        "sampling": sampling,
        "sampling_overrides": [*SAMPLINGS[sampling], *small, *options.override],
        "data": options.data,
        "steps": options.steps or STEPS[sampling],
    }
    workers = start_workers(__file__, {name: {**shared, "name": name} for name in names}, options.threads)
    none: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    own: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    try:
        take_turns(workers, 1, lambda name: {})
        for _ in range(options.rounds):
            for name in names:  # a machine that is slow for a while is so for both
                none[name].append(workers["none"].ask())
                own[name].append(none[name][-1] if name == "none" else workers[name].ask())
    finally:
        for worker in workers.values():
            worker.close()
    return [table_row(sampling, name, own[name], none[name]) for name in names]


def table_row(
    sampling: str, name: str, own: Sequence[dict[str, Any]], none: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What a case adds to a step.

    Args:
        sampling: Name of the sampling.
        name: Name of the case.
        own: Its rounds.
        none: The rounds without callbacks, each right before.

    """
    parts = {part: statistics.mean(turn["hooks"][part] for turn in own) * 1e6 for part in own[0]["hooks"]}
    clipping = parts.pop(CLIPPING)
    hooks = sum(parts.values())
    bare = median(none, "step")
    loop = statistics.median(a["step"] - b["step"] for a, b in zip(own, none, strict=True))
    return {
        "sampling": sampling,
        "callbacks": name,
        "ms a step": median(own, "step") * 1e3,
        "us in the hooks": hooks,
        "us in the loop": loop * 1e6,
        "us of the trainer's clipping": clipping,
        "hooks, % of the step": hooks / bare / 1e4,
        "loop, % of the step": loop / bare * 100,
        f"hooks, % of {REFERENCE_MS:g} ms": hooks / REFERENCE_MS / 10,
        "target": TARGET_PERCENT if name in ("safer", "resilient") else None,
    } | ({"us by callback": parts} if len(parts) > 1 else {})


def main(arguments: Sequence[str] | None = None) -> None:
    """Time all cases and print the table."""
    parser = common.arguments("What the callbacks cost a training step", "callback_overhead")
    parser.set_defaults(rounds=5)
    parser.add_argument("--samplings", nargs="+", choices=list(SAMPLINGS), default=list(SAMPLINGS))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="none is always timed")
    parser.add_argument("--steps", type=int, help=f"steps of a turn that count; by default {STEPS}")
    parser.add_argument("--data", help="folder of recordings; the demo data by default")
    parser.add_argument("--override", nargs="*", default=[], help="overrides for the train command")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)  # for the report; the workers are told on their own
    options.cases = ["none", *(name for name in options.cases if name != "none")]
    if options.quick:
        options.rounds = 2
    rows = [row for sampling in options.samplings for row in measure(sampling, options)]
    settings: dict[str, Any] = {"data": options.data or "demo", "rounds": options.rounds, "quick": options.quick}
    common.report("What the callbacks cost a training step", rows, options.json, settings)


if __name__ == "__main__" and not run_worker(serve):
    main()
