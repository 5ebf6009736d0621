"""Export a voltage estimator as a program of ``torch.export``: needs torch alone to run, not this package."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from vestim_pl.deploy.checkpoint import copy_estimator
from vestim_pl.deploy.comparison import example_inputs, largest_difference, refuse_difference
from vestim_pl.deploy.facts import ModelFacts, model_facts
from vestim_pl.errors import ConfigurationError, name_error, printable
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.files import whole_file, writing
from vestim_pl.networks import State

__all__ = ["METADATA", "export_torch"]

_OF_SOURCE = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn")
METADATA = "vestim_pl.json"  # name of the extra file that holds the metadata


def export_torch(estimator: VoltageEstimator, path: str | Path, facts: ModelFacts | None = None) -> float:
    """Write an estimator as a ``.pt2`` program, after checking that both compute the same.

    The program takes ``inputs [batch, length, F]`` in physical units and the tensors of the state, zeros for a new
    cell. It returns ``voltage [batch, length]`` in volts and the tensors of the next state. It is a scan
    over the steps, so any length works, and a recording can be given whole or in chunks.

    Args:
        estimator: The trained estimator; it is not changed.
        path: File to write; its folder is created.
        facts: Metadata for the extra file ``vestim_pl.json``; read from the estimator by default.

    Returns:
        Largest difference between program and estimator, in volts.

    Raises:
        ConfigurationError: If this torch cannot export the network for any length.
        VestimError: If program and estimator differ; nothing is written.
        FileError: If the file cannot be written; an earlier file stays.

    """
    archive = _archive(estimator, json.dumps((facts or model_facts(estimator)).metadata()))
    program = torch.export.load(io.BytesIO(archive)).module()
    difference = largest_difference(_runner(program), estimator)
    refuse_difference("the torch program", difference, estimator, "try another version of torch")
    with writing(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_bytes(archive)
    return difference


class _Scanned(nn.Module):
    """The estimator as a scan over its steps.

    A recurrent kernel would be unrolled, which fixes the length. ``scan`` keeps one step as a subprogram.
    """

    def __init__(self, estimator: VoltageEstimator) -> None:
        super().__init__()
        self.estimator = copy_estimator(estimator, "cpu")

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        from torch._higher_order_ops.scan import scan  # a prototype, even in torch 2.14

        def step(carried: list[Tensor], row: Tensor) -> tuple[list[Tensor], Tensor]:
            volts, carried_on = self.estimator(row.unsqueeze(1), tuple(carried))
            return [tensor.clone() for tensor in carried_on], volts.squeeze(1)  # outputs must not alias inputs

        carried, volts = scan(step, list(state), inputs.transpose(0, 1).contiguous(), dim=0)
        return (volts.T, *carried)


def _archive(estimator: VoltageEstimator, metadata: str) -> bytes:
    """Export the estimator and return the content of the file."""
    archive = io.BytesIO()
    try:
        torch.export.save(_program(estimator), archive, extra_files={METADATA: metadata})
    except Exception as error:  # scan is a prototype, which fails in many ways in older versions
        name, reason = estimator.hparams["network"].get("name"), printable(name_error(error))
        raise ConfigurationError(
            f"format: torch {torch.__version__} cannot export {name} for any batch and length ({reason}); use torch"
            " 2.13 or newer, format=onnx, or StreamingEstimator"
        ) from error
    return archive.getvalue()


def _program(estimator: VoltageEstimator) -> torch.export.ExportedProgram:
    inputs, state = example_inputs(estimator, batch=2, length=3)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    shapes = {"inputs": {0: batch, 1: length}, "state": tuple({0: batch} for _ in state)}
    module = _Scanned(estimator)
    with torch.no_grad():
        program = torch.export.export(module, (inputs, *state), dynamic_shapes=shapes, strict=False)
    _forget_source(program.graph_module)
    return program


def _forget_source(program: torch.fx.GraphModule) -> None:
    """Remove what the exporter wrote about this machine: stack traces with paths, most of the file."""
    for module in program.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                for key in _OF_SOURCE:
                    node.meta.pop(key, None)


def _runner(program: nn.Module) -> Callable[[Tensor, State], tuple[Tensor, State]]:
    def run(inputs: Tensor, state: State) -> tuple[Tensor, State]:
        volts, *carried = program(inputs, *state)
        return volts, tuple(carried)

    return run
