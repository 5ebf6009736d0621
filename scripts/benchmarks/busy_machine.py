"""Measure a training step beside other busy programs: with one and with three busy processes on each core.

    python scripts/benchmarks/busy_machine.py                    # 3 minutes on 2 cores
    python scripts/benchmarks/busy_machine.py --command          # the whole train command as well, 10 minutes
    python scripts/benchmarks/busy_machine.py --quick

The step is that of the train command with ``preset=safer`` and whole windows. The cases are torch's own threads and
waits, the short waits of our commands on all threads, one thread, and the choice of our commands. Each case has its own
process, and the cases take turns: on an idle machine, and with one and three busy processes per core, which are stopped
in between. ``x one`` and ``x three`` are the time of a case relative to its own idle time (medians over the rounds).
``x idle`` is its idle time relative to that of torch's own settings. With a fair share of each core, the factors would
be 2 and 4. If Linux groups processes by session (``sched_autogroup_enabled``), the busy processes must belong to the
session of the training, as they do in this script.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import common
import torch
from train_command import build_run, data_overrides, disabled
from training_step import Pace
from workers import Channel, Worker, median, ratio, run_worker, start_workers

from vestim_pl.app.threads import decide_threads, time_steps, trial_step

SHORT_WAITS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "3000"}  # as `shorten_waits` sets them
OWN_WAITS = {"GOMP_SPINCOUNT": "300000"}  # libgomp's default
CASES: dict[str, dict[str, Any]] = {
    "torch's own": {"environment": OWN_WAITS},
    "short waits": {"environment": SHORT_WAITS},
    "one thread": {"environment": {**SHORT_WAITS, "OMP_NUM_THREADS": "1"}},
    "chosen": {"environment": SHORT_WAITS, "choose": True},
}
LEVELS = {"idle": 0, "one": 1, "three": 3}  # busy processes on each core
COMMAND_STEPS = 60


def serve(channel: Channel, case: dict[str, Any]) -> None:
    """Worker: the loop of the train command, in steps on demand."""
    torch.set_flush_denormal(True)  # before the first parallel operation
    overrides = [
        "+preset=safer",
        *data_overrides(case["data"]),
        "scheduler=none",
        "trainer.max_epochs=1000000",
        "+trainer.limit_val_batches=0",
        *disabled("early_stopping", "checkpoint", "last_checkpoint", "adaptive_lookback"),
        *case["overrides"],
    ]
    with tempfile.TemporaryDirectory() as folder:
        run = build_run(overrides, folder, [Pace(channel)])
        if case.get("choose"):
            step = trial_step(run.estimator, run.datamodule.sampling)
            threads, reason = decide_threads(torch.get_num_threads(), lambda few, more: time_steps(step, few, more))
            torch.set_num_threads(threads)
            print(f"chosen: {threads} threads, {reason}")
        run.trainer.fit(run.estimator, datamodule=run.datamodule)


@contextmanager
def busy_processes(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that would compute all the time, stopped until `beside` continues them."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def beside(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Let these processes compute within the block."""
    try:
        for process in processes:
            process.send_signal(signal.SIGCONT)
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGSTOP)


def measure_steps(
    cases: Mapping[str, Mapping[str, Any]], busy: Sequence[subprocess.Popen[bytes]], rounds: int, steps: Sequence[int]
) -> list[dict[str, Any]]:
    """Rows of a training step, one a case."""
    cores = len(os.sched_getaffinity(0))
    answers: dict[str, dict[str, list[dict[str, Any]]]] = {name: {level: [] for level in LEVELS} for name in cases}
    workers: dict[str, Worker] = {}
    try:
        for name, case in cases.items():  # one after the other, because a command chooses on a quiet machine
            workers |= start_workers(__file__, {name: case}, cores)
        for worker in workers.values():
            worker.ask(steps=3)
        for _ in range(rounds):
            for (level, each), count in zip(LEVELS.items(), steps, strict=True):
                with beside(busy[: each * cores]):
                    for name, worker in workers.items():
                        answers[name][level].append(worker.ask(steps=count))
    finally:
        for worker in workers.values():
            worker.close()
    return [_row("step", name, found, answers) for name, found in answers.items()]


def measure_command(
    names: Sequence[str], busy: Sequence[subprocess.Popen[bytes]], rounds: int, overrides: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of the whole train command, import and report included."""
    cores = len(os.sched_getaffinity(0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    environments: dict[str, dict[str, str]] = {
        name: {} if CASES[name].get("choose") else {"OMP_NUM_THREADS": str(cores), **CASES[name]["environment"]}
        for name in names
    }
    answers: dict[str, dict[str, list[dict[str, Any]]]] = {name: {level: [] for level in LEVELS} for name in names}
    for _ in range(rounds):
        for level, each in LEVELS.items():
            with beside(busy[: each * cores]):
                for name, environment in environments.items():
                    answers[name][level].append({"seconds": _time_command({**kept, **environment}, overrides)})
    return [_row("command", name, found, answers) for name, found in answers.items()]


def _time_command(environment: Mapping[str, str], overrides: Sequence[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "vestim_pl.train", "+preset=safer", "trainer.max_epochs=1", "test=false"]
        limits = [f"+trainer.limit_train_batches={COMMAND_STEPS}", "+trainer.limit_val_batches=1"]
        start = time.perf_counter()
        subprocess.run(
            [*command, *limits, *overrides, f"hydra.run.dir={folder}/run"],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return time.perf_counter() - start


def _row(
    what: str,
    name: str,
    found: Mapping[str, Sequence[Mapping[str, Any]]],
    answers: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
) -> dict[str, Any]:
    own = answers.get("torch's own")
    return {
        "what": what,
        "case": name,
        **{f"{level} [s]": median(found[level], "seconds") for level in LEVELS},
        **{f"x {level}": ratio(found[level], found["idle"], "seconds") for level in ("one", "three")},
        "x idle": ratio(found["idle"], own["idle"], "seconds") if own else None,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Time every case at every level and print the table."""
    parser = common.arguments("A training beside other busy programs", "busy_machine", rounds=3)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--steps", nargs=3, type=int, default=[40, 20, 15], help="steps of a turn: idle, one, three")
    parser.add_argument("--data", help="folder of recordings; the demo data by default")
    parser.add_argument("--override", nargs="*", default=[], help="overrides for the train command")
    parser.add_argument("--command", action="store_true", help="time the whole train command as well")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.steps = 1, [2, 1, 1]
        options.override = [*options.override, "sampling.lookback=10", "sampling.batch_size=16"]
    cases = {name: {**CASES[name], "data": options.data, "overrides": options.override} for name in options.cases}
    with busy_processes(max(LEVELS.values()) * len(os.sched_getaffinity(0))) as busy:
        rows = measure_steps(cases, busy, options.rounds, options.steps)
        if options.command:
            given = [*data_overrides(options.data), *options.override]
            rows += measure_command([name for name in options.cases if name != "short waits"], busy, 1, given)
    common.report("A training beside other busy programs", rows, options.json, {"steps": options.steps})


if __name__ == "__main__" and not run_worker(serve):
    main()
