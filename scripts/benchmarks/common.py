"""Shared by all benchmarks: description of the machine, interleaved timings, a table and a JSON file.

A benchmark is a command, ``python scripts/benchmarks/NAME.py``, so it imports this file from its own folder with
``import common``. Times of different runs are not comparable, because the machine may be busy. Cases therefore take
turns within one run, and the result is a ratio between them.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

__all__ = ["Timing", "arguments", "interleave", "machine", "report"]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call of a case, by round.

    Attributes:
        seconds: One value a round.

    Example::

        >>> slow, fast = Timing([2.0, 4.0, 2.0]), Timing([1.0, 2.0, 1.0])
        >>> slow.median, slow.over(fast)
        (2.0, 2.0)

    """

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """Median seconds of a call."""
        return statistics.median(self.seconds)

    def over(self, reference: "Timing") -> float:
        """Return the time relative to the reference: the median of the ratios of each round.

        The cases of a round run right after each other, so a machine that is busy for a while slows both.
        """
        return statistics.median(own / other for own, other in zip(self.seconds, reference.seconds, strict=True))


def interleave(
    cases: Mapping[str, Callable[[], object]], rounds: int = 7, warmup: int = 1, least_seconds: float = 0.0
) -> dict[str, Timing]:
    """Time all cases in turn, round by round.

    Args:
        cases: What to call, by name.
        rounds: Rounds that count.
        warmup: Calls of each case before, that do not count.
        least_seconds: A case that is faster is called as often as it takes to fill that time, and a call's share of
            it counts; for calls of microseconds.

    Returns:
        Timing of a single call of each case, by name.

    """
    calls = {}
    for name, case in cases.items():
        for _ in range(warmup):
            case()
        start = time.perf_counter()
        case()
        calls[name] = max(1, round(least_seconds / max(time.perf_counter() - start, 1e-9)))
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            start = time.perf_counter()
            for _ in range(calls[name]):
                case()
            seconds[name].append((time.perf_counter() - start) / calls[name])
    return {name: Timing(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """Return what times depend on: processor, cores, threads, load, versions; no host or user name."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(name) for name in ("lightning", "onnxruntime")},
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def arguments(description: str, name: str, rounds: int | None = 7) -> argparse.ArgumentParser:
    """Return a parser with the options of all benchmarks: ``--rounds``, ``--threads``, ``--json``.

    Args:
        description: What is measured.
        name: Name of the benchmark, for the file.
        rounds: How many there are by default; None for a benchmark without rounds.

    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help="rounds; medians over them are printed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks") / f"{name}.json", help="file to write")
    return parser


def report(
    title: str, rows: Sequence[Mapping[str, Any]], path: Path, settings: Mapping[str, Any] | None = None
) -> None:
    """Print the rows as a table, and write them as JSON with machine, settings and time, and as Markdown.

    Args:
        title: What was measured.
        rows: Results; the keys of the first row are the columns, but for those that hold a mapping, which only the JSON
            has; numbers are printed with four digits.
        path: JSON file; its folder is made.
        settings: What else the figures depend on.

    """
    machine_of_run = machine()
    table = Table(title=title, title_justify="left")
    columns = _columns(rows)
    for column in columns:
        numeric = all(isinstance(row.get(column), int | float | None) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    # In a file or a pipe, a table has its full width instead of 80 columns.
    console = Console() if Console().is_terminal else Console(width=200)
    console.print(table)
    console.print(_sentence(machine_of_run), soft_wrap=True, highlight=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    content = {
        "title": title,
        "time": now,
        "machine": machine_of_run,
        "settings": dict(settings or {}),
        "rows": list(rows),
    }
    path.write_text(json.dumps(content, indent=2, default=str) + "\n")
    path.with_suffix(".md").write_text(_markdown(title, rows, machine_of_run))
    print(f"written to {path}")


def _markdown(title: str, rows: Sequence[Mapping[str, Any]], where: Mapping[str, Any]) -> str:
    """Return the table as Markdown, for the documentation."""
    columns = _columns(rows)
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{title}\n\n{table}\n\n{_sentence(where)}\n"


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for name, value in rows[0].items() if not isinstance(value, Mapping)] if rows else []


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _sentence(where: Mapping[str, Any]) -> str:
    return (
        f"{where['processor']}, {where['cores']} cores, {where['torch_threads']} threads, torch {where['torch']}, "
        f"Python {where['python']}, load {where['load_1min']}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
