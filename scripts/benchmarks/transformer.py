"""Compare a Transformer with an LSTM at equal compute: error, steps, parameters, and largest usable learning rates.

    python scripts/benchmarks/transformer.py --data DIR              # 18 trainings of 60 s and 9 searches of the rate
    python scripts/benchmarks/transformer.py --data DIR --budget 20 --no-rates
    python scripts/benchmarks/transformer.py --quick

Compute is the CPU time of the process on one thread, so other programs change the result little. Each training is that
of the train command (AdamW, clipping at 1.0, no guards), with a warmup over the first 5 % of the budget and a cosine
down to zero. The test split is scored twice: with windows of the lookback from the zero state, and streamed from
beginning to end. Both use the rows from the longest lookback on.

To find the largest usable learning rate, Adam trains on windows at a constant rate for a number of steps, from the
largest rate down. The result is the first rate whose validation RMSE is finite and below that of a constant voltage.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import common
import lightning.pytorch as pl
import numpy as np
import torch
from train_command import Run, build_run, data_overrides, disabled

from vestim_pl.callbacks.runtime.keep_freed_memory import keep_freed_memory
from vestim_pl.data import RecordingTable
from vestim_pl.deploy.streaming import StreamingEstimator
from vestim_pl.estimator import VoltageEstimator

LOOKBACKS = (100, 200, 400)
NETWORKS: dict[str, list[str]] = {
    "LSTM [32]": ["network=lstm", "network.hidden_sizes=[32]"],
    "Transformer [32, 32]": ["network=transformer", "network.hidden_sizes=[32,32]"],
    "Transformer [32]": ["network=transformer", "network.hidden_sizes=[32]"],
}
SAMPLINGS: dict[str, list[str]] = {
    "windows": ["sampling=windows", "sampling.batch_size=64"],
    "streams": ["sampling=streams", "sampling.lanes=32"],
}
BARE = disabled(
    "early_stopping", "checkpoint", "epoch_summary", "step_guard", "finite_parameters", "recovery", "interrupt",
    "gradient_norm", "event_log", "random_state",
)  # fmt: skip
RATES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
WARMUP = 0.05
CHUNK = 500


class Budget(pl.Callback):
    """End a training after a number of CPU seconds, and set its learning rate by the share used.

    Args:
        seconds: CPU seconds of the process.
        rate: Largest learning rate.

    """

    def __init__(self, seconds: float, rate: float) -> None:
        self.seconds, self.rate, self.steps = seconds, rate, 0
        self._start: float | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> int | None:
        self._start = time.process_time() if self._start is None else self._start
        used = (time.process_time() - self._start) / self.seconds
        if used >= 1:
            trainer.should_stop = True
            return -1
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rate * min(used / WARMUP, 0.5 * (1 + math.cos(math.pi * used)))
        self.steps += 1
        return None


def fitted(overrides: Sequence[str], options: argparse.Namespace, callbacks: Sequence[pl.Callback] = ()) -> Run:
    """Train by a command line, and return the run."""
    torch.set_flush_denormal(True)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        quiet = [
            *BARE,
            "++trainer.limit_val_batches=0",
            "scheduler=none",
            f"seed={options.seed}",
        ]
        run = build_run([*overrides, *data_overrides(options.data), *quiet], folder, callbacks)
        run.trainer.fit(run.estimator, datamodule=run.datamodule)
    run.estimator.eval()
    return run


@torch.no_grad()
def windows_rmse_mv(
    estimator: VoltageEstimator, table: RecordingTable, lookback: int, first: int, stride: int
) -> float:
    """RMSE of every ``stride``-th row from the ``first`` of each recording, by windows that end there."""
    rows = np.concatenate([np.arange(start + first, end, stride) for start, end in pairwise(table.borders)])
    ends = torch.from_numpy(rows)
    steps = torch.arange(1 - lookback, 1)
    squares = [
        (estimator(table.inputs[part[:, None] + steps])[0][:, -1] - table.target[part]).square()
        for part in ends.split(256)
    ]
    return float(torch.cat(squares).mean().sqrt()) * 1e3


@torch.no_grad()
def streamed_rmse_mv(estimator: VoltageEstimator, table: RecordingTable, first: int) -> float:
    """RMSE of every row from the ``first`` of each recording, run side by side with carried state."""
    lengths = torch.from_numpy(table.lengths)
    last = lengths[:, None] - 1
    rows = torch.from_numpy(table.borders[:-1])[:, None] + torch.arange(int(lengths.max())).minimum(last)
    state, volts = None, []
    for part in rows.split(CHUNK, dim=1):
        estimate, state = estimator(table.inputs[part], state)
        volts.append(estimate)
    steps = torch.arange(rows.shape[1])
    error = (torch.cat(volts, 1) - table.target[rows])[(steps < lengths[:, None]) & (steps >= first)]
    return float(error.square().mean().sqrt()) * 1e3


def step_microseconds(estimator: VoltageEstimator, steps: int = 300) -> float:
    """Return the CPU time of one sample of one cell, as in a battery management system."""
    stream = StreamingEstimator(estimator)
    values = dict.fromkeys(stream.features, 0.5)
    row = torch.tensor([list(values.values())])
    stream.run(row)
    start = time.process_time()
    for _ in range(steps):
        stream.run(row)
    return (time.process_time() - start) / steps * 1e6


def trained(network: str, sampling: str, lookback: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one case and return its row of the table of errors."""
    budget = Budget(options.budget, options.rate)
    overrides = [*NETWORKS[network], *SAMPLINGS[sampling], f"sampling.lookback={lookback}", "optimizer=adamw"]
    run = fitted(
        [*overrides, f"optimizer.lr={options.rate}", "trainer.max_epochs=-1", *options.override], options, [budget]
    )
    run.datamodule.setup("test")
    table = run.datamodule.table("test")
    first = max(options.lookbacks)
    return {
        "sampling": sampling,
        "lookback": lookback,
        "network": network,
        "parameters": sum(parameter.numel() for parameter in run.estimator.parameters()),
        "CPU seconds": options.budget,
        "steps": budget.steps,
        "test, windows [mV]": windows_rmse_mv(run.estimator, table, lookback, first, stride=50),
        "test, streamed [mV]": streamed_rmse_mv(run.estimator, table, first),
        "a sample [µs]": step_microseconds(run.estimator),
    }


def largest_rate(network: str, lookback: int, options: argparse.Namespace) -> dict[str, Any]:
    """Search one case and return its row of the table of learning rates."""
    overrides = [*NETWORKS[network], "sampling=windows", "sampling.batch_size=16", f"sampling.lookback={lookback}"]
    found: dict[str, float] = {}
    tolerated = None
    for rate in (rate for rate in RATES if rate <= options.largest_rate):
        limits = ["trainer.max_epochs=-1", f"++trainer.max_steps={options.steps}", f"optimizer.lr={rate}"]
        run = fitted([*overrides, *limits], options)
        table = run.datamodule.table("val")
        constant = float((table.target - run.estimator.scaler.target_mean).square().mean().sqrt()) * 1e3
        found[f"{rate:g}"] = windows_rmse_mv(run.estimator, table, lookback, lookback, stride=50)
        print(f"  {network}, lookback {lookback}, rate {rate:g}: {found[f'{rate:g}']:.1f} mV", flush=True)
        if found[f"{rate:g}"] < constant:  # false for NaN
            tolerated = rate
            break
    return {
        "lookback": lookback,
        "network": network,
        "largest tolerated rate": tolerated,
        "its validation RMSE [mV]": found[f"{tolerated:g}"] if tolerated else None,
        "constant voltage [mV]": constant,
        "by rate": found,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and score all cases; each row is written as soon as it is known."""
    parser = common.arguments("A Transformer against an LSTM for the same compute", "transformer", rounds=None)
    parser.add_argument("--data", help="folder of recordings, LG HG2 for the figures; the demo data by default")
    parser.add_argument("--budget", type=float, default=60, help="CPU seconds of a training")
    parser.add_argument("--rate", type=float, default=3e-3, help="largest learning rate of a training")
    parser.add_argument("--steps", type=int, default=200, help="steps with which a constant rate is tried")
    parser.add_argument("--largest-rate", type=float, default=RATES[0], help="rate from which the search goes down")
    parser.add_argument("--lookbacks", type=int, nargs="+", default=list(LOOKBACKS))
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--samplings", nargs="*", choices=list(SAMPLINGS), default=list(SAMPLINGS))
    parser.add_argument("--no-rates", dest="rates", action="store_false", help="leave out the search of rates")
    parser.add_argument("--seed", type=int, default=0, help="of initialisation and order")
    parser.add_argument("--override", nargs="*", default=[], help="overrides for the train command")
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it works")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.quick:
        options.budget, options.steps, options.lookbacks, options.samplings = 0.5, 3, [20], ["windows", "streams"]
    settings = {name: value for name, value in vars(options).items() if name != "json"}
    rows: list[dict[str, Any]] = []
    for sampling in options.samplings:
        for lookback in options.lookbacks:
            for network in options.networks:
                rows.append(trained(network, sampling, lookback, options))
                common.report("Transformer and LSTM for the same compute", rows, options.json, settings)
    rates: list[dict[str, Any]] = []
    for lookback in options.lookbacks if options.rates else ():
        for network in options.networks:
            rates.append(largest_rate(network, lookback, options))
            path = options.json.with_stem(f"{options.json.stem}_rates")
            common.report("Largest tolerated learning rate", rates, path, settings)


if __name__ == "__main__":
    main()
