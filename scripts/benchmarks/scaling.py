"""Measure the cost of a sample as rows, lookback, hidden size and lanes grow.

    python scripts/benchmarks/scaling.py                      # 1 minute
    python scripts/benchmarks/scaling.py --quick

A sample is a window for rows and lookback, and a step of a lane for hidden size and lanes. For rows, only the order of
an epoch and the gathering of batches are timed. For the others, a training step is timed (forward, backward and Adam),
with subnormal numbers flushed and freed memory kept, as in the train command. ``growth`` is the exponent between
neighbouring points: 0 if the cost of a sample stays the same, 1 if it grows in proportion. The picture needs
the extra ``plots``.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from torch import Tensor

from vestim_pl.callbacks.runtime.keep_freed_memory import keep_freed_memory
from vestim_pl.data import RecordingTable, WindowDataset
from vestim_pl.data.indexing.window_batch_sampler import WindowBatchSampler
from vestim_pl.networks import build_network

FEATURES = 3
GATHERED = 40  # batches per call
KNOWN = 2000  # batches that take turns, so that the cache does not hold their rows from the call before
POINTS: dict[str, list[int]] = {
    "rows": [10_000, 100_000, 1_000_000, 10_000_000],
    "lookback": [25, 50, 100, 200, 400, 800],
    "hidden size": [8, 16, 32, 64, 128, 256],
    "lanes": [1, 4, 16, 64, 256],
}
QUICK: dict[str, list[int]] = {"rows": [1000, 4000], "lookback": [5, 10], "hidden size": [4, 8], "lanes": [1, 4]}
EXPECTED = {"rows": 0, "lookback": 1, "hidden size": 2, "lanes": 0}


def training_step(lanes: int, lookback: int, hidden: int) -> Callable[[], None]:
    """One step of an LSTM on random numbers."""
    torch.manual_seed(0)
    network = build_network({"name": "LSTM", "hidden_sizes": [hidden]}, FEATURES)
    optimizer = torch.optim.Adam(network.parameters())
    inputs = torch.randn(lanes, lookback, FEATURES)
    return partial(_step, network, optimizer, inputs)


def _step(network: torch.nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor) -> None:
    optimizer.zero_grad()
    network(inputs)[0][:, -1].square().mean().backward()
    optimizer.step()


def data_steps(rows: int, lookback: int, batch_size: int) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """Return two calls with their numbers of windows: draw an epoch's order, and gather some batches."""
    generator = torch.Generator().manual_seed(0)
    table = RecordingTable(
        torch.rand(rows, FEATURES, generator=generator),
        torch.rand(rows, generator=generator),
        np.arange(rows, dtype=np.float64),
        np.linspace(0, rows, 11).astype(np.int64),
        [f"recording {index}" for index in range(10)],
    )
    windows = WindowDataset(table, lookback)
    sampler = WindowBatchSampler(len(windows), batch_size)
    batches = list(islice(iter(sampler), KNOWN))
    coming = cycle(batches)

    def gather() -> None:
        for index in islice(coming, GATHERED):
            windows.__getitems__(index)

    return {"order": lambda: next(iter(sampler)), "batches": gather}, {
        "order": len(windows),
        "batches": GATHERED * sum(map(len, batches)) // len(batches),
    }


def cost_of_rows(points: Sequence[int], rounds: int, quick: bool) -> Iterator[tuple[int, float]]:
    """Return the seconds of a window: its share of the order, and gathering it."""
    lookback, batch_size = (10, 32) if quick else (200, 256)
    for rows in points:
        cases, windows = data_steps(rows, lookback, batch_size)
        seconds = common.interleave(cases, rounds, least_seconds=0.0 if quick else 0.1)
        yield rows, sum(seconds[case].median / windows[case] for case in cases)


def cost_of_steps(
    shapes: Mapping[int, tuple[int, int, int]], samples: Callable[[int, int], int], rounds: int
) -> Iterator[tuple[int, float]]:
    """Return the seconds of a sample in a training step of each shape (lanes, lookback, hidden size)."""
    cases = {str(point): training_step(*shape) for point, shape in shapes.items()}
    timings = common.interleave(cases, rounds, warmup=2, least_seconds=0.1 if rounds > 2 else 0.0)
    for point, (lanes, lookback, _) in shapes.items():
        yield point, timings[str(point)].median / samples(lanes, lookback)


def measure(points: Mapping[str, Sequence[int]], rounds: int, quick: bool) -> dict[str, list[tuple[int, float]]]:
    """Measure the seconds of a sample at each point of each panel."""
    lanes, hidden = (2, 4) if quick else (256, 32)
    stream = (2, 5) if quick else (16, 100)

    def a_window(lanes: int, _: int) -> int:
        return lanes

    def a_step(lanes: int, lookback: int) -> int:
        return lanes * lookback

    return {
        "rows": list(cost_of_rows(points["rows"], rounds, quick)),
        "lookback": list(cost_of_steps({n: (lanes, n, hidden) for n in points["lookback"]}, a_window, rounds)),
        "hidden size": list(cost_of_steps({n: (*stream, n) for n in points["hidden size"]}, a_step, rounds)),
        "lanes": list(cost_of_steps({n: (n, stream[1], hidden) for n in points["lanes"]}, a_step, rounds)),
    }


def growth(panel: Sequence[tuple[int, float]]) -> list[float | None]:
    """Return the exponent of the cost of a sample between neighbouring points."""
    exponents: list[float | None] = [None]
    for (before, cheap), (after, dear) in pairwise(panel):
        exponents.append(math.log(dear / cheap) / math.log(after / before))
    return exponents


def plot(results: Mapping[str, Sequence[tuple[int, float]]], path: Path) -> None:
    """Draw a panel for each quantity that grows, with the slope of its arithmetic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(11, 7), layout="constrained")
    for axes, (name, panel) in zip(figure.subplots(2, 2).flat, results.items(), strict=True):
        sizes = np.array([size for size, _ in panel], dtype=float)
        costs = np.array([seconds for _, seconds in panel]) * 1e6
        axes.loglog(sizes, costs, "o-", label="measured")
        expected = costs[-1] * (sizes / sizes[-1]) ** EXPECTED[name]
        axes.loglog(sizes, expected, ":", color="gray", label=f"exponent {EXPECTED[name]}")
        axes.set_xlabel(name)
        axes.set_ylabel("us a window" if name in ("rows", "lookback") else "us a step of a lane")
        axes.set_xticks(sizes, labels=[f"{size:,}" for size, _ in panel])
        axes.set_ylim(
            10 ** np.floor(np.log10(costs.min())), 10 ** np.ceil(np.log10(costs.max()))
        )  # only decades have labels
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.grid(True, which="both", alpha=0.2)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all points, print the table and draw the plot."""
    parser = common.arguments("Cost of a sample as things grow", "scaling")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    options = parser.parse_args(arguments)
    torch.set_flush_denormal(True)  # before the first parallel operation
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    if options.quick:
        options.rounds = 2
    results = measure(QUICK if options.quick else POINTS, options.rounds, options.quick)
    rows: list[dict[str, Any]] = [
        {"grows": name, "to": size, "us a sample": seconds * 1e6, "growth": exponent, "arithmetic": EXPECTED[name]}
        for name, panel in results.items()
        for (size, seconds), exponent in zip(panel, growth(panel), strict=True)
    ]
    settings = {"rounds": options.rounds, "quick": options.quick, "windows": "256 x 200", "streams": "16 x 100"}
    common.report("Cost of a sample as things grow", rows, options.json, settings)
    picture = options.json.with_suffix(".png")
    plot(results, picture)
    print(f"drawn in {picture}")


if __name__ == "__main__":
    main()
