"""Compare torch's GRU, ours, and an LSTM of the same size on the CPU.

On the CPU, PyTorch has a oneDNN kernel for the LSTM but none for the GRU. A GRU therefore takes several times as long
as an LSTM, which has a third more weights. This script measures the gain of ``vestim_pl.networks.gru_layer``.

    python scripts/benchmarks/gru_kernel.py
    python scripts/benchmarks/gru_kernel.py --threads 1
"""

from collections.abc import Callable
from functools import partial

import torch
from common import arguments, interleave, report
from torch import Tensor, nn

from vestim_pl.callbacks.runtime.keep_freed_memory import keep_freed_memory
from vestim_pl.networks.gru_layer import GRULayer

SHAPES = [(16, 100, 32), (16, 100, 64), (16, 400, 32), (64, 200, 32), (256, 200, 32), (64, 400, 128), (1, 1, 32)]
FEATURES = 3


def training_pass(kernel: nn.Module, inputs: Tensor) -> None:
    """Forward and backward over a chunk."""
    kernel(inputs)[0].square().mean().backward()


def inference_pass(kernel: nn.Module, inputs: Tensor) -> None:
    """Forward over a chunk, without a backward pass."""
    with torch.inference_mode():
        kernel(inputs)


def main() -> None:
    """Time every shape and print the table."""
    parser = arguments("GRU kernels on CPU against PyTorch's GRU and LSTM", "gru_kernel")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # before the first parallel region, so that worker threads inherit it
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    rows = []
    for lanes, steps, size in SHAPES:
        torch.manual_seed(0)
        inputs = torch.randn(lanes, steps, FEATURES)
        kernels: dict[str, nn.Module] = {
            "LSTM": nn.LSTM(FEATURES, size, batch_first=True),
            "GRU": nn.GRU(FEATURES, size, batch_first=True),
            "ours": GRULayer(FEATURES, size),
        }
        for mode, run in (("training", training_pass), ("inference", inference_pass)):
            cases: dict[str, Callable[[], object]] = {
                name: partial(run, kernel, inputs) for name, kernel in kernels.items()
            }
            timings = interleave(cases, rounds=options.rounds, warmup=2, least_seconds=0.05)
            rows.append(
                {
                    "lanes x steps x hidden": f"{lanes} x {steps} x {size}",
                    "pass": mode,
                    **{f"{name} [ms]": timing.median * 1e3 for name, timing in timings.items()},
                    "nn.GRU / nn.LSTM": timings["GRU"].over(timings["LSTM"]),
                    "ours / nn.LSTM": timings["ours"].over(timings["LSTM"]),
                    "nn.GRU / ours": timings["GRU"].over(timings["ours"]),
                }
            )
    report("GRU on CPU", rows, options.json, {"features": FEATURES, "flush_denormal": True, "keep_freed_memory": True})


if __name__ == "__main__":
    main()
