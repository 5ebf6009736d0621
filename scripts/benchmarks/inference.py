"""Measure the speed of a trained estimator: sample by sample for 1 and 1,000 cells, and offline over drive cycles.

    python scripts/benchmarks/inference.py
    python scripts/benchmarks/inference.py --quick
    python scripts/benchmarks/inference.py --networks LSTM:32 GRU:64,32 preset=accurate --threads 1

The compared methods:

- ``StreamingEstimator``: ``step`` with numbers for one cell, or with arrays for many; ``run`` for whole drive cycles
- ``fused kernel``: the estimator called with one step, on the kernel for long inputs, without checks and conversions
- ``ONNX Runtime``: the exported model, to which the caller passes the state; needs the extra ``onnx``

The weights are untrained, because the time does not depend on them. ``over`` is the time relative to StreamingEstimator
in the same run; below 1 is faster.
"""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import common
import torch
from train_command import compose

from vestim_pl.app.configuration import plain
from vestim_pl.deploy.onnx_export import onnx_model
from vestim_pl.deploy.streaming import StreamingEstimator
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.networks import recurrent_layer

FEATURES = ["SOC", "Current", "Temp"]
OURS = "StreamingEstimator"
NETWORKS = ["LSTM:32", "LSTM:128,64", "GRU:32", "LSTM_EMA:32", "FNN:32", "preset=fast", "preset=accurate"]


def build_estimator(spec: str) -> VoltageEstimator:
    """Build an estimator from ``NAME:SIZE,SIZE,...`` or ``preset=NAME``, with its scaler fitted on noise."""
    network, pairs = specification(spec)
    estimator = VoltageEstimator(FEATURES, network, rc_pairs=pairs)
    inputs = torch.randn(1000, 3) * torch.tensor([0.3, 4.0, 15.0])
    if estimator.rc_pairs is not None:
        inputs = estimator.rc_pairs(inputs.unsqueeze(0), estimator.rc_pairs.zero_state(1))[0][0]
    estimator.scaler.fit(inputs, 3.7 + 0.2 * torch.randn(1000))
    return estimator.eval()


def specification(spec: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the network, and of its RC pairs."""
    name, _, sizes = spec.partition(":")
    if not name.startswith("preset="):
        return {"name": name, "hidden_sizes": [int(size) for size in (sizes or "32").split(",")]}, {}
    config = compose([f"+{name}"], "outputs")
    pairs = {"steps": list(config.data.rc_pairs), "cold_factor": config.data.cold_factor}
    return plain(config.network), pairs if pairs["steps"] else {}


def step_cases(estimator: VoltageEstimator, session: Any, cells: int) -> dict[str, Callable[[], object]]:
    """Return the methods for one sample of each cell."""
    stream = StreamingEstimator(estimator, cells)
    inputs = torch.randn(cells, 1, 3)
    soc, current, temperature = inputs[0, 0].tolist() if cells == 1 else [c.numpy() for c in inputs[:, 0].unbind(-1)]
    state = estimator.zero_state(cells)

    def kernel() -> None:
        with torch.inference_mode():
            estimator(inputs, state)

    cases: dict[str, Callable[[], object]] = {OURS: lambda: stream.step(current, temperature, soc)}
    recurrent = any(isinstance(module, torch.nn.RNNBase) for module in estimator.modules())
    if recurrent and cells <= recurrent_layer._FEW_LANES:
        cases["fused kernel"] = without_single_steps(kernel)
    if session is not None:
        cases["ONNX Runtime"] = onnx_case(session, inputs, state)
    return cases


def offline_cases(estimator: VoltageEstimator, session: Any, cells: int, steps: int) -> dict[str, Callable[[], object]]:
    """Return the methods for ``steps`` samples of each cell at once."""
    stream = StreamingEstimator(estimator, cells)
    inputs = torch.randn(cells, steps, 3)
    cases: dict[str, Callable[[], object]] = {OURS: lambda: stream.run(inputs)}
    if session is not None:
        cases["ONNX Runtime"] = onnx_case(session, inputs, estimator.zero_state(cells))
    return cases


def without_single_steps(call: Callable[[], None]) -> Callable[[], None]:
    """Return a call that uses the fused kernel for single steps too."""

    def wrapped() -> None:
        few, recurrent_layer._FEW_LANES = recurrent_layer._FEW_LANES, 0
        try:
            call()
        finally:
            recurrent_layer._FEW_LANES = few

    return wrapped


def onnx_case(session: Any, inputs: torch.Tensor, state: tuple[torch.Tensor, ...]) -> Callable[[], object]:
    """Return a call of the exported model."""
    names = [argument.name for argument in session.get_inputs()]
    feeds = dict(zip(names, (tensor.numpy() for tensor in (inputs, *state)), strict=True))
    return lambda: session.run(None, feeds)


def onnx_session(estimator: VoltageEstimator, threads: int) -> Any:
    """Load the exported model into ONNX Runtime; None if that is not installed."""
    if not all(find_spec(package) for package in ("onnx", "onnxscript", "onnxruntime")):
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        onnx_model(estimator).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def main() -> None:
    """Time all networks with all methods, and report."""
    parser = common.arguments(__doc__.splitlines()[0], "inference")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--cells", nargs="+", type=int, default=[1, 1000], help="cells stepped side by side")
    parser.add_argument("--steps", type=int, default=10_000, help="steps of a drive cycle, offline")
    parser.add_argument("--offline-cells", type=int, default=16, help="drive cycles run side by side, offline")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    options = parser.parse_args()
    if options.quick:
        options.networks, options.cells, options.steps, options.rounds = ["LSTM_EMA:4", "preset=fast"], [1, 20], 10, 1
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = []
    for spec in options.networks:
        estimator = build_estimator(spec)
        session = onnx_session(estimator, options.threads)
        jobs = [("step", cells, 1, step_cases(estimator, session, cells)) for cells in options.cells]
        jobs += [
            ("offline", cells, options.steps, offline_cases(estimator, session, cells, options.steps))
            for cells in (1, options.offline_cells)
        ]
        for job, cells, steps, cases in jobs:
            print(f"timing {spec}, {job}, {cells} cells ...", file=sys.stderr, flush=True)
            timings = common.interleave(cases, options.rounds, warmup=3, least_seconds=0.0 if options.quick else 0.05)
            rows += [
                {
                    "network": spec,
                    "job": job,
                    "cells": cells,
                    "way": way,
                    "ms a call": timing.median * 1e3,
                    "calls/s": 1 / timing.median,
                    "samples/s": cells * steps / timing.median,
                    "over": timing.over(timings[OURS]),
                }
                for way, timing in timings.items()
            ]
    common.report(
        "Inference", rows, options.json, {"steps": options.steps, "rounds": options.rounds, "quick": options.quick}
    )


if __name__ == "__main__":
    main()
