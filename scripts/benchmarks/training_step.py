"""Compare a training step on windows with the reference loop, for the guide's four configurations and a GRU.

    python scripts/benchmarks/training_step.py                                     # 6-10 minutes on 2 cores
    python scripts/benchmarks/training_step.py --configurations safer gru          # 1 minute
    python scripts/benchmarks/training_step.py --quick

``ours`` is the loop of the train command: its loader, Lightning's trainer, and the default callbacks except those that
act on validations. On both sides, the networks have the size and learning rate of the guide, without dropout and layer
norm, which VEstim's networks lack. There are two stages: the first steps from each side's own initialisation, and steps
from the weights that ours has after 200 steps. Each stage is timed with subnormal numbers flushed and kept. The first
ratio is the gain of a VEstim user (the reference keeps subnormal numbers, ours flushes them). With
``callbacks=[default,adaptive_lookback]``, the gain is the ratio named ``adaptive``. The gain of flushing depends on the
processor, so the script first measures and prints the cost of a subnormal multiplication. ``new pages`` is how much
longer a step takes without ``KeepFreedMemory``.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import common
import lightning.pytorch as pl
import torch
from reference_loop import ReferenceLoop, materialise_windows, standardise
from train_command import build_run, data_overrides, disabled, load_weights
from workers import Channel, median, ratio, run_worker, start_workers, take_turns

from vestim_pl.callbacks import AdaptiveLookback
from vestim_pl.data import VoltageDataModule

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "safer": {"cell": "LSTM", "hidden_sizes": [32], "lookback": 200, "batch_size": 256, "lr": 1e-4},
    "more_capacity": {"cell": "LSTM", "hidden_sizes": [64, 32], "lookback": 300, "batch_size": 256, "lr": 5e-5},
    "long_lookback": {"cell": "LSTM", "hidden_sizes": [128, 64], "lookback": 400, "batch_size": 128, "lr": 3e-5},
    "guide_baseline": {"cell": "LSTM", "hidden_sizes": [10], "lookback": 400, "batch_size": 200, "lr": 1e-4},
    "gru": {"cell": "GRU", "hidden_sizes": [32], "lookback": 200, "batch_size": 256, "lr": 1e-4},
}
CASES = {
    "reference, kept": {"kind": "reference", "flush": False},
    "ours, flushed": {"kind": "ours", "flush": True},
    "reference, flushed": {"kind": "reference", "flush": True},
    "ours, kept": {"kind": "ours", "flush": False, "off": ["flush_denormals"]},
    "ours, new pages": {"kind": "ours", "flush": True, "off": ["keep_freed_memory"]},
    "ours, adaptive": {"kind": "ours", "flush": True, "callbacks": "[default,adaptive_lookback]"},
}
WARMUP_STEPS = 2
REFERENCE_WINDOWS = 5000  # enough for a fair comparison of the loaders, without 400 MB of windows


def serve(channel: Channel, case: dict[str, Any]) -> None:
    """Worker: one side of one configuration."""
    torch.set_flush_denormal(case["flush"])  # before the first parallel operation
    (_serve_reference if case["kind"] == "reference" else _serve_ours)(channel, case)


def _serve_reference(channel: Channel, case: dict[str, Any]) -> None:
    datamodule = VoltageDataModule(case["data"], splits=["train"])
    table = datamodule.table("train")
    lookback = case["lookback"]
    stride = max(1, table.rows // REFERENCE_WINDOWS)
    inputs, target = standardise(table.inputs)[0], standardise(table.target)[0]
    windows, targets = materialise_windows(inputs, target, table.borders, lookback, horizon=1, stride=stride)
    loop = ReferenceLoop(windows, targets, case["hidden_sizes"], case["cell"], case["batch_size"], lr=case["lr"])
    channel.send(ready=True)
    while True:
        command = channel.receive()
        if "load" in command:
            load_weights(loop.network, torch.load(command["load"], weights_only=True))
        start = time.perf_counter()
        for _ in range(command["steps"]):
            loop.step()
        channel.send(seconds=(time.perf_counter() - start) / command["steps"])


class Pace(pl.Callback):
    """Take commands between two steps; a turn is timed from the start of a step to the start of a later one."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.left = self.steps = 0
        self.start = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.left == 0:
            if self.steps:
                self.channel.send(seconds=(time.perf_counter() - self.start) / self.steps)
            else:
                self.channel.send(ready=True)
            command = self.channel.receive()
            network = pl_module.network
            if "save" in command:
                torch.save([parameter.detach() for parameter in network.parameters()], command["save"])
            if "load" in command:
                load_weights(network, torch.load(command["load"], weights_only=True))
                for callback in trainer.callbacks:  # type: ignore[attr-defined]
                    if isinstance(callback, AdaptiveLookback):
                        callback.forget()  # its measurements belong to the weights before
            self.left = self.steps = command["steps"]
            self.start = time.perf_counter()
        self.left -= 1


def _serve_ours(channel: Channel, case: dict[str, Any]) -> None:
    overrides = [
        *data_overrides(case["data"]),
        f"network={case['cell'].lower()}",
        f"network.hidden_sizes={case['hidden_sizes']}",
        f"sampling.lookback={case['lookback']}",
        f"sampling.batch_size={case['batch_size']}",
        f"optimizer.lr={case['lr']}",
        "scheduler=none",
        "trainer.max_epochs=1000000",
        "+trainer.limit_val_batches=0",
        *([f"callbacks={case['callbacks']}"] if "callbacks" in case else []),
        *disabled("early_stopping", "checkpoint", *case.get("off", [])),
        *case["overrides"],
    ]
    with tempfile.TemporaryDirectory() as folder:
        run = build_run(overrides, folder, [Pace(channel)])
        run.trainer.fit(run.estimator, datamodule=run.datamodule)


def measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one configuration, early and after some steps."""
    shared = {**CONFIGURATIONS[name], "data": options.data, "overrides": options.override}
    if options.quick:
        shared |= {"lookback": shared["lookback"] // 10, "batch_size": 32}
    cases = {case: {**shared, **CASES[case]} for case in options.cases}
    workers = start_workers(__file__, cases, options.threads)
    try:
        steps = {}
        for case, worker in workers.items():
            worker.ask(steps=1)
            seconds = worker.ask(steps=WARMUP_STEPS)["seconds"]
            steps[case] = max(1, round(options.seconds / seconds))
        early = take_turns(workers, options.rounds, lambda case: {"steps": steps[case]})
        trained = "ours, flushed"
        with tempfile.TemporaryDirectory() as folder:
            weights = str(Path(folder) / "weights.pt")
            done = 1 + WARMUP_STEPS + options.rounds * steps[trained]
            workers[trained].ask(steps=max(1, options.late_step - done))
            workers[trained].ask(steps=1, save=weights)
            for worker in workers.values():
                worker.ask(steps=1, load=weights)
            late = take_turns(workers, options.rounds, lambda case: {"steps": steps[case]})
    finally:
        for worker in workers.values():
            worker.close()
    shape = f"{CONFIGURATIONS[name]['cell']} {shared['hidden_sizes']} x {shared['lookback']} x {shared['batch_size']}"
    return [
        {"configuration": name, "network x lookback x batch": shape, "stage": stage, **_figures(answers)}
        for stage, answers in (("early", early), (f"after {options.late_step}", late))
    ]


def _figures(answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float | None]:
    """Return the milliseconds of each case, and the ratios."""

    def over(above: str, below: str) -> float | None:
        return ratio(answers[above], answers[below], "seconds") if {above, below} <= answers.keys() else None

    return {
        **{f"{case} [ms]": median(answers[case], "seconds") * 1e3 if case in answers else None for case in CASES},
        "speed-up": over("reference, kept", "ours, flushed"),
        "both flushed": over("reference, flushed", "ours, flushed"),
        "both kept": over("reference, kept", "ours, kept"),
        "new pages": over("ours, new pages", "ours, flushed"),
        "adaptive": over("reference, kept", "ours, adaptive"),
    }


def subnormal_cost() -> float:
    """Return the cost of a subnormal multiplication relative to a normal one on this processor.

    Near 1 where it computes with them at full speed, as some do; flushing then gains nothing.
    """
    numbers = {"normal": torch.ones(1 << 15), "subnormal": torch.ones(1 << 15, dtype=torch.int32).view(torch.float32)}
    result = torch.empty(1 << 15)
    cases = {name: partial(torch.mul, values, 0.5, out=result) for name, values in numbers.items()}
    timings = common.interleave(cases, rounds=7, warmup=2, least_seconds=0.002)
    return timings["subnormal"].over(timings["normal"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Time every configuration and print the table."""
    parser = common.arguments("Training step on windows against the reference loop", "training_step")
    parser.set_defaults(rounds=3)
    parser.add_argument("--configurations", nargs="+", choices=list(CONFIGURATIONS), default=list(CONFIGURATIONS))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="needs 'ours, flushed'")
    parser.add_argument("--data", help="folder of recordings; the demo data by default")
    parser.add_argument("--seconds", type=float, default=0.5, help="least time of a case's turn, at least one step")
    parser.add_argument("--late-step", type=int, default=200, help="step at which the second stage is timed")
    parser.add_argument("--override", nargs="*", default=[], help="overrides for the train command")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)  # for the report; each worker sets its own
    if options.quick:
        options.seconds, options.rounds, options.late_step = 0.02, 2, 20
    subnormal = subnormal_cost()
    print(f"a multiplication of subnormal numbers takes {subnormal:.3g} x one of normal numbers on this processor")
    rows = [row for name in options.configurations for row in measure(name, options)]
    settings = {"data": options.data or "demo", "rounds": options.rounds, "quick": options.quick}
    settings["subnormal cost"] = subnormal
    common.report("Training step on windows against the reference loop", rows, options.json, settings)


if __name__ == "__main__" and not run_worker(serve):
    main()
