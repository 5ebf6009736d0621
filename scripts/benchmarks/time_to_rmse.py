"""Measure the seconds of training until a validation RMSE is reached: VEstim's recipe, our windows, our streams.

    python scripts/benchmarks/time_to_rmse.py --data DIR                      # up to 12 minutes
    python scripts/benchmarks/time_to_rmse.py --data DIR --cases "streams, preset=fast"
    python scripts/benchmarks/time_to_rmse.py --quick

The cases:

- ``VEstim's recipe``: the reference loop, horizon 1, lookback 200, hidden 32, batch 256, Adam at a constant 1e-3,
  subnormal numbers kept.
- ``VEstim's recipe, horizon 0``: the same, but it estimates the voltage of the window's last row, whose current is
  known.
- ``windows``: the train command with the same network, batch and learning rate on windows, horizon 0.
- ``streams, preset=fast``: the train command with this preset.

The clock stops while a case is scored. All cases are scored on the same rows: every fifth row of each validation
recording, from row 200 on. Windows are scored as in the training, from the zero state. Streams run through the
recordings with carried state. The interval between two scores is a twentieth of the time plus 0.05 s, so a time is too
long by at most that. A case ends below the lowest threshold, or at its time limit.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import common
import lightning.pytorch as pl
import numpy as np
import torch
from reference_loop import ReferenceLoop, materialise_windows, standardise
from torch import Tensor
from train_command import build_run, data_overrides, disabled
from workers import Channel, Worker, run_worker

from vestim_pl.data import RecordingTable, VoltageDataModule

THRESHOLDS_MV = (60, 50, 40, 30, 20)
LOOKBACK = 200
STRIDE = 5
CHUNK = 500
REFERENCE = "VEstim's recipe"
STREAMS = "streams, preset=fast"
CASES: dict[str, dict[str, Any]] = {
    STREAMS: {"kind": "ours", "overrides": ["+preset=fast"]},
    "windows": {"kind": "ours", "overrides": ["scheduler=none", "optimizer.lr=1e-3", f"sampling.lookback={LOOKBACK}"]},
    f"{REFERENCE}, horizon 0": {"kind": "reference", "horizon": 0},
    REFERENCE: {"kind": "reference", "horizon": 1},
}


class Clock:
    """Measure the seconds of training, and decide when to score.

    Args:
        channel: Where each score is sent.
        limit: Seconds of training.
        score: Gives the validation RMSE in mV.

    """

    def __init__(self, channel: Channel, limit: float, score: Callable[[], float]) -> None:
        self.channel, self.limit, self.score = channel, limit, score
        self.seconds = 0.0
        self.next_look = 0.3
        self.steps = 0
        self.over = False
        self._since = time.perf_counter()

    def tick(self) -> bool:
        """Between two steps; returns whether training is over."""
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now
        if self.seconds >= min(self.next_look, self.limit):
            rmse_mv = self.score()
            self.over = rmse_mv <= min(THRESHOLDS_MV) or self.seconds >= self.limit
            self.channel.send(seconds=self.seconds, steps=self.steps, rmse_mv=rmse_mv, over=self.over)
            self.next_look = self.seconds * 1.05 + 0.05
            self._since = time.perf_counter()
        self.steps += 1
        return self.over


class Watch(pl.Callback):
    """Ask the clock between two steps of a Lightning training."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> int | None:
        if not self.clock.tick():
            return None
        trainer.should_stop = True
        return -1


def scored_windows(table: RecordingTable, horizon: int) -> tuple[Tensor, Tensor]:
    """First row of the window of each scored row, and that row's voltage."""
    rows = np.concatenate([np.arange(first + LOOKBACK, last, STRIDE) for first, last in pairwise(table.borders)])
    return torch.from_numpy(rows - horizon - LOOKBACK + 1), table.target[torch.from_numpy(rows)]


@torch.no_grad()
def windows_rmse_mv(estimate: Callable[[Tensor], Tensor], table: RecordingTable, inputs: Tensor, horizon: int) -> float:
    """RMSE of windows that start from the zero state.

    Args:
        estimate: Takes windows ``[B, L, F]``, gives volts ``[B]``.
        table: Rows of the validation split.
        inputs: ``[N, F]`` its features as ``estimate`` wants them.
        horizon: Rows from a window's end to the estimated row.

    """
    starts, target = scored_windows(table, horizon)
    steps = torch.arange(LOOKBACK)
    volts = torch.cat([estimate(inputs[part[:, None] + steps]) for part in starts.split(512)])
    return float((volts - target).square().mean().sqrt()) * 1e3


@torch.no_grad()
def streams_rmse_mv(estimator: Any, table: RecordingTable) -> float:
    """RMSE over the same rows, the recordings run side by side with carried state."""
    lengths = torch.from_numpy(table.lengths)
    rows = torch.from_numpy(table.borders[:-1])[:, None] + torch.arange(int(lengths.max())).clamp(
        max=lengths[:, None] - 1
    )
    state, volts = None, []
    for part in rows.split(CHUNK, dim=1):
        estimate, state = estimator(table.inputs[part], state)
        volts.append(estimate)
    steps = torch.arange(rows.shape[1])
    scored = (steps < lengths[:, None]) & (steps >= LOOKBACK) & ((steps - LOOKBACK) % STRIDE == 0)
    error = (torch.cat(volts, 1) - table.target[rows])[scored]
    return float(error.square().mean().sqrt()) * 1e3


def serve(channel: Channel, case: dict[str, Any]) -> None:
    """Worker: run one case when told to start, and send each score."""
    (_serve_reference if case["kind"] == "reference" else _serve_ours)(channel, case)


def _serve_reference(channel: Channel, case: dict[str, Any]) -> None:
    torch.set_flush_denormal(False)
    datamodule = VoltageDataModule(case["data"], splits=["train", "val"])
    train, val = datamodule.table("train"), datamodule.table("val")
    train_inputs, val_inputs = standardise(train.inputs, val.inputs)
    mean, std = train.target.mean(), train.target.std(correction=0)
    windows = materialise_windows(
        train_inputs, (train.target - mean) / std, train.borders, LOOKBACK, case["horizon"], stride=case["stride"]
    )
    loop = ReferenceLoop(*windows, hidden_sizes=[32], batch_size=256, lr=1e-3, seed=case["seed"])

    def score() -> float:
        loop.network.eval()
        return windows_rmse_mv(lambda x: loop.network(x)[:, 0] * std + mean, val, val_inputs, case["horizon"])

    channel.send(ready=True)
    channel.receive()
    clock = Clock(channel, case["limit"], score)
    while not clock.tick():
        loop.step()


def _serve_ours(channel: Channel, case: dict[str, Any]) -> None:
    torch.set_flush_denormal(True)  # before the first parallel operation, as the train command does it
    quiet = disabled("early_stopping", "checkpoint", "epoch_summary")  # they act on validations, which the clock runs
    overrides = [*case["overrides"], *data_overrides(case["data"]), *quiet, "+trainer.limit_val_batches=0"]
    with tempfile.TemporaryDirectory() as folder:
        run = build_run([*overrides, f"seed={case['seed']}", *case["extra"]], folder)
        val = run.datamodule.table("val")
        streams = hasattr(run.datamodule.sampling, "lanes")

        def score() -> float:
            run.estimator.eval()
            rmse_mv = (
                streams_rmse_mv(run.estimator, val)
                if streams
                else windows_rmse_mv(lambda x: run.estimator(x)[0][:, -1], val, val.inputs, horizon=0)
            )
            run.estimator.train()
            return rmse_mv

        channel.send(ready=True)
        channel.receive()
        clock = Clock(channel, case["limit"], score)
        run.trainer.callbacks.insert(0, Watch(clock))  # type: ignore[attr-defined]
        run.trainer.fit(run.estimator, datamodule=run.datamodule)
        if not clock.over:  # the training ended before the limit
            channel.send(seconds=clock.seconds, steps=clock.steps, rmse_mv=score(), over=True)


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one case to its end, and return all scores in order."""
    limit = options.reference_limit if CASES[name]["kind"] == "reference" else options.limit
    common_part = {"data": options.data, "limit": limit, "seed": options.seed, "extra": options.override}
    worker = Worker(__file__, {**CASES[name], **common_part, "stride": 50 if options.quick else 1}, options.threads)
    looks = []
    try:
        worker.receive()
        looks.append(worker.ask(start=True))
        while not looks[-1]["over"]:
            looks.append(worker.receive())
            print(f"  {name}: {looks[-1]['seconds']:7.1f} s  {looks[-1]['rmse_mv']:7.2f} mV", flush=True)
    finally:
        worker.close()
    return {"name": name, "limit": limit, "looks": looks}


def seconds_to(result: dict[str, Any], threshold_mv: float) -> float | None:
    """Return the seconds of training at the first score below the threshold, None if there is none."""
    return next((look["seconds"] for look in result["looks"] if look["rmse_mv"] <= threshold_mv), None)


def table_row(result: dict[str, Any], streams: dict[str, Any] | None) -> dict[str, Any]:
    """Return a row: seconds to each threshold, lowest RMSE, and the ratio to the seconds of streams to 50 mV.

    Where a case did not get there, its limit stands for its seconds: it takes longer than that.
    """
    looks = result["looks"]
    row: dict[str, Any] = {"case": result["name"]}
    for threshold in THRESHOLDS_MV:
        seconds = seconds_to(result, threshold)
        row[f"{threshold} mV [s]"] = f"> {looks[-1]['seconds']:.0f}" if seconds is None else f"{seconds:.1f}"
    row["lowest [mV]"] = min(look["rmse_mv"] for look in looks)
    row["steps a second"] = looks[-1]["steps"] / looks[-1]["seconds"]
    reference, own = None if streams is None else seconds_to(streams, 50), seconds_to(result, 50)
    times = None if reference is None else (own or looks[-1]["seconds"]) / reference
    row["x streams at 50 mV"] = "-" if times is None else f"{'' if own else '> '}{times:.1f}"
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases one after the other and print the table."""
    parser = common.arguments("Seconds of training to a validation RMSE", "time_to_rmse")
    parser.add_argument("--data", help="folder of recordings, LG HG2 for the figures; the demo data by default")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--limit", type=float, default=120, help="most seconds of training of one of our cases")
    parser.add_argument("--reference-limit", type=float, default=240, help="the same of a reference loop")
    parser.add_argument("--seed", type=int, default=0, help="of initialisation and order")
    parser.add_argument("--override", nargs="*", default=[], help="overrides for the train command")
    parser.add_argument("--quick", action="store_true", help="a few seconds a case, to see that it works")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)  # for the report; each worker sets its own
    if options.quick:
        options.limit = options.reference_limit = 3
    results = {name: measure(name, options) for name in options.cases}
    rows = [table_row(result, results.get(STREAMS)) for result in results.values()]
    settings = {"data": options.data or "demo", "seed": options.seed, "looks": results, "quick": options.quick}
    common.report("Seconds of training to a validation RMSE", rows, options.json, settings)


if __name__ == "__main__" and not run_worker(serve):
    main()
