"""Run the cases of a benchmark in separate processes that take turns, one round at a time.

Flushing subnormal numbers is a setting of each thread, and torch's worker threads inherit it when they start. Two cases
with different settings cannot share a process. Each case is therefore a process that waits for its turn, so that the
cases still alternate (A, B, A, B) within one run.

The process runs the benchmark's script with ``--worker CASE``. It answers each line of JSON from the channel with
another line of JSON. What it prints goes to standard error.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Channel", "Worker", "median", "ratio", "run_worker", "start_workers", "take_turns"]


class Worker:
    """Process of one case, which waits for its turn.

    Args:
        script: The benchmark's script.
        case: What it is to run, as plain values; ``environment`` holds variables for its process.
        threads: Threads of torch.

    """

    def __init__(self, script: str | Path, case: Mapping[str, Any], threads: int) -> None:
        self.case = dict(case)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
        environment |= self.case.get("environment", {})
        self._process = subprocess.Popen(
            [sys.executable, str(script), "--worker", json.dumps(self.case)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def receive(self) -> dict[str, Any]:
        """Wait for the next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the case {self.case} ended with status {self._process.wait()}; see its error above")
        return dict(json.loads(line))

    def ask(self, **command: Any) -> dict[str, Any]:
        """Give the worker a turn and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self.receive()

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Channel:
    """The worker's end of the connection: commands in, answers out."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def receive(self) -> dict[str, Any]:
        """Wait for the next command, and end the process when there is no more."""
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        return dict(json.loads(line))

    def send(self, **answer: Any) -> None:
        """Answer a command."""
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()


def run_worker(serve: Callable[[Channel, dict[str, Any]], None]) -> bool:
    """Serve the case after ``--worker``, if this process is a worker.

    Args:
        serve: Takes channel and case; says ``ready`` when it can take its first turn.

    Returns:
        Whether it was one.

    """
    if len(sys.argv) != 3 or sys.argv[1] != "--worker":
        return False
    serve(Channel(), json.loads(sys.argv[2]))
    return True


def start_workers(script: str | Path, cases: Mapping[str, Mapping[str, Any]], threads: int) -> dict[str, Worker]:
    """Start all cases, and wait until all are ready and quiet."""
    workers = {name: Worker(script, case, threads) for name, case in cases.items()}
    for worker in workers.values():
        worker.receive()
    return workers


def take_turns(
    workers: Mapping[str, Worker], rounds: int, command: Callable[[str], Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Give each worker a turn, round by round.

    Args:
        workers: The workers by name.
        rounds: Rounds.
        command: Command to a worker by its name.

    Returns:
        The answers of each, round by round.

    """
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            answers[name].append(worker.ask(**command(name)))
    return answers


def median(answers: Sequence[Mapping[str, Any]], key: str) -> float:
    """Return the median of a value over the rounds."""
    return statistics.median(float(answer[key]) for answer in answers)


def ratio(above: Sequence[Mapping[str, Any]], below: Sequence[Mapping[str, Any]], key: str) -> float:
    """Return the median over the rounds of the ratio of a value between two cases."""
    return statistics.median(float(a[key]) / float(b[key]) for a, b in zip(above, below, strict=True))
