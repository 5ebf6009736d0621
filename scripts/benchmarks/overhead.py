"""Measure the cost of trainer, callbacks, metrics and logging, relative to a bare loop with the same batches.

    python scripts/benchmarks/overhead.py                       # 2 minutes
    python scripts/benchmarks/overhead.py --samplings streams --data DIR --rounds 15
    python scripts/benchmarks/overhead.py --quick

All cases have the same network, loader, optimizer and clipping. Each case adds one part to the case before it:

- ``bare loop``: ``for batch in loader``: zero_grad, loss, backward, clip, step.
- ``bare Lightning``: a Trainer without callbacks and logger, and a module that only returns the loss.
- ``+ metrics``: the complete module, with metrics and log calls.
- ``+ logger``: the CSV logger of the configuration.
- ``whole``: all default callbacks, as in the train command.

A round is an epoch. A step is timed from its start to the start of the next one. The end of an epoch (validation,
checkpoints, log files) is shown separately, from the last step to the first step of the next epoch. The second table
shows the time of each hook in one ``whole`` run under Lightning's profiler, which itself costs a few microseconds per
hook.
"""

import argparse
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import lightning.pytorch as pl
import torch
from lightning.pytorch.profilers import SimpleProfiler
from torch import Tensor
from train_command import Run, build_run, data_overrides
from workers import Channel, Worker, median, ratio, run_worker, start_workers, take_turns

from vestim_pl.callbacks.runtime.keep_freed_memory import keep_freed_memory
from vestim_pl.functional.sequence_batch import SequenceBatch

# Every twelfth window, so that an epoch takes a second. The cost of a step does not depend on the number of windows.
SAMPLINGS = {
    "windows": ["sampling=windows", "sampling.lookback=200", "sampling.stride=12", "sampling.evaluation_stride=12"],
    "streams": ["sampling=streams", "sampling.lanes=16", "sampling.lookback=100"],
}
QUICK = {
    "windows": [
        "sampling.lookback=10",
        "sampling.stride=300",
        "sampling.evaluation_stride=300",
        "sampling.batch_size=16",
    ],
    "streams": ["sampling.lanes=64", "sampling.lookback=40", "sampling.burn_in=10"],
}
TARGETS = {"windows": 1.05, "streams": 1.25}
CASES = ("bare loop", "bare Lightning", "+ metrics", "+ logger", "whole")
WARMUP_STEPS = 120  # by default, the gradient norm is logged in each of the first hundred steps
PROFILED_EPOCHS = 10


class Pace(pl.Callback):
    """Time one epoch a turn: seconds of a step, and of the epoch's end."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.clock: EpochClock | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self.channel.send(**({"ready": True} if self.clock is None else self.clock.result()))
            self.channel.receive()
            self.clock = EpochClock(int(trainer.num_training_batches))
        elif self.clock is not None and batch_idx == self.clock.steps:
            self.clock.last_step()


class EpochClock:
    """Time the steps of an epoch except the last, and the epoch's end."""

    now = staticmethod(time.perf_counter)

    def __init__(self, batches: int) -> None:
        self.steps = batches - 1
        self._start = self._last = self.now()

    def last_step(self) -> None:
        """The last step begins."""
        self._last = self.now()

    def result(self) -> dict[str, float]:
        """The first step of the next epoch begins."""
        step = (self._last - self._start) / self.steps
        return {"steps": self.steps, "step": step, "end": self.now() - self._last - step}


def serve(channel: Channel, case: dict[str, Any]) -> None:
    """Worker: one case."""
    torch.set_flush_denormal(True)  # before the first parallel operation, as in the train command, and in all cases:
    keep_freed_memory()
    if case["cpu_time"]:
        EpochClock.now = staticmethod(time.process_time)
    overrides = [*SAMPLINGS[case["sampling"]], *data_overrides(case["data"]), "scheduler=none", *case["overrides"]]
    overrides += ["trainer.max_epochs=1000000", "callbacks.early_stopping=null"]
    with tempfile.TemporaryDirectory() as folder:
        name = case["name"]
        if name == "profile":
            _profile(channel, build_run(["+trainer.profiler=simple", *overrides], folder))
            return
        pace = Pace(channel)
        run = build_run(overrides, folder, [pace])
        if name == "bare loop":
            _bare_loop(channel, run)
        if name != "whole":
            run.trainer.callbacks = [pace]  # type: ignore[attr-defined]
        if name in ("bare Lightning", "+ metrics"):
            run.trainer.loggers = []
        if name == "bare Lightning":
            _strip(run)
        run.trainer.fit(run.estimator, datamodule=run.datamodule)


def loss_of(run: Run, batch: SequenceBatch) -> Tensor:
    """Return the estimator's loss without the rest of its step."""
    error = run.estimator._scaled_error(batch, "train")
    return (error.square() * batch.weight).sum() / batch.weight.sum().clamp(min=1.0)


def _bare_loop(channel: Channel, run: Run) -> None:
    estimator, datamodule = run.estimator, run.datamodule
    options = dict(estimator.hparams["optimizer"])
    optimizer = getattr(torch.optim, options.pop("name"))(estimator.parameters(), **options)
    train, val = datamodule.train_dataloader(), datamodule.val_dataloader()
    channel.send(ready=True)
    epoch = 0
    while True:
        channel.receive()
        train.batch_sampler.set_epoch(epoch)
        epoch += 1
        clock = None
        for index, batch in enumerate(train):
            if clock is None:
                clock = EpochClock(len(train))
            elif index == clock.steps:
                clock.last_step()
            optimizer.zero_grad()
            loss_of(run, batch).backward()
            torch.nn.utils.clip_grad_norm_(estimator.parameters(), run.config.trainer.gradient_clip_val)
            optimizer.step()
        _bare_validation(run, val)
        assert clock is not None
        channel.send(**clock.result())


@torch.no_grad()
def _bare_validation(run: Run, val: Any) -> float:
    run.estimator.eval()
    run.estimator._carried["val"] = None
    squared = count = 0.0
    for batch in val:
        squared += float((run.estimator._scaled_error(batch, "val").square() * batch.weight).sum())
        count += float(batch.weight.sum())
    run.estimator.train()
    return squared / count


def _strip(run: Run) -> None:
    """Remove everything but the loss from the module's step."""

    def nothing(*_: Any) -> None:
        return None

    estimator = run.estimator
    estimator.training_step = lambda batch, batch_idx: loss_of(run, batch)  # type: ignore[method-assign]
    estimator._log_errors = nothing  # type: ignore[method-assign]
    estimator.validation_step = lambda batch, batch_idx: estimator._scaled_error(batch, "val")  # type: ignore[method-assign]


class _StopAfter(pl.Callback):
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= PROFILED_EPOCHS


def _profile(channel: Channel, run: Run) -> None:
    """Return the microseconds a step or an epoch in each of Lightning's actions."""
    channel.send(ready=True)
    channel.receive()
    run.trainer.callbacks.append(_StopAfter())  # type: ignore[attr-defined]
    run.trainer.fit(run.estimator, datamodule=run.datamodule)
    profiler = run.trainer.profiler  # type: ignore[attr-defined]
    assert isinstance(profiler, SimpleProfiler)
    steps = run.trainer.global_step
    actions = {
        action: {"calls": len(durations), "seconds": sum(durations)}
        for action, durations in profiler.recorded_durations.items()
    }
    channel.send(steps=steps, epochs=PROFILED_EPOCHS, actions=actions)


def hook_table(profile: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the time in the hooks by callback or part: within the steps, and at an epoch's end."""
    steps, epochs = profile["steps"], profile["epochs"]
    spent: dict[str, dict[str, float]] = defaultdict(lambda: {"step": 0.0, "epoch": 0.0})
    for action, record in profile["actions"].items():
        owner = _owner(action)
        if owner is None:
            continue
        every_step = record["calls"] >= steps - epochs and "validation" not in action
        spent[owner]["step" if every_step else "epoch"] += record["seconds"]
    rows = [
        {"hooks of": owner, "us a step": parts["step"] / steps * 1e6, "ms an epoch": parts["epoch"] / epochs * 1e3}
        for owner, parts in spent.items()
    ]
    return sorted(rows, key=lambda row: -row["us a step"] - row["ms an epoch"])[:20]


def _owner(action: str) -> str | None:
    """Return the owner of a profiler action: StepGuard for ``[Callback]StepGuard.on_train_batch_end``."""
    kind, _, rest = action.partition("]")
    if not kind.startswith("["):
        return None
    name = rest.partition("{")[0].split(".")[0]
    if kind == "[Callback":
        return name
    return f"{name}.{rest.rpartition('.')[2]}" if kind == "[LightningModule" else None


def measure(sampling: str, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of one sampling, and its table of hooks."""
    small = QUICK[sampling] if options.quick else []
    shared = {
        "sampling": sampling,
        "data": options.data,
        "overrides": [*options.override, *small],
        "cpu_time": options.cpu_time,
    }
    workers = start_workers(__file__, {name: {**shared, "name": name} for name in options.cases}, options.threads)
    try:
        steps = workers[CASES[0]].ask()["steps"]
        take_turns(workers, math.ceil(WARMUP_STEPS / steps), lambda name: {})
        answers = take_turns(workers, options.rounds, lambda name: {})
    finally:
        for worker in workers.values():
            worker.close()
    bare = answers[CASES[0]]
    rows = [
        {
            "sampling": sampling,
            "case": name,
            "step [ms]": median(answer, "step") * 1e3,
            "over the bare loop": ratio(answer, bare, "step"),
            "target": TARGETS[sampling] if name == "whole" else None,
            "end of an epoch [ms]": median(answer, "end") * 1e3,
        }
        for name, answer in answers.items()
    ]
    if options.no_profile:
        return rows, []
    profiler = Worker(__file__, {**shared, "name": "profile"}, options.threads)
    try:
        profiler.receive()
        return rows, hook_table(profiler.ask(run=True))
    finally:
        profiler.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Time both samplings and print the tables."""
    parser = common.arguments("Trainer, callbacks, metrics and logging over a bare loop", "overhead")
    parser.add_argument("--samplings", nargs="+", choices=list(SAMPLINGS), default=list(SAMPLINGS))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="the bare loop is needed")
    parser.add_argument("--data", help="folder of recordings; the demo data by default")
    parser.add_argument("--override", nargs="*", default=[], help="overrides for the train command")
    parser.add_argument(
        "--cpu-time", action="store_true", help="seconds of the processor: for a busy machine, 1 thread"
    )
    parser.add_argument("--no-profile", action="store_true", help="leave out the table of hooks")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)  # for the report; each worker sets its own
    if options.quick:
        options.rounds = 2
    results = {sampling: measure(sampling, options) for sampling in options.samplings}
    settings: dict[str, Any] = {"data": options.data or "demo", "rounds": options.rounds, "quick": options.quick}
    for sampling, (_, hooks) in results.items():
        if hooks:
            path: Path = options.json.with_name(f"{options.json.stem}_{sampling}_hooks.json")
            common.report(f"Where the time of the whole goes: {sampling}", hooks, path, settings)
    rows = [row for own, _ in results.values() for row in own]
    common.report("Trainer, callbacks, metrics and logging over a bare loop", rows, options.json, settings)


if __name__ == "__main__" and not run_worker(serve):
    main()
