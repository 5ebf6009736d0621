"""Export a voltage estimator to ONNX: physical units in, volts out, any batch and length, state in and out."""

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from vestim_pl.deploy.checkpoint import copy_estimator
from vestim_pl.deploy.comparison import example_inputs, largest_difference, refuse_difference
from vestim_pl.deploy.facts import ModelFacts, model_facts
from vestim_pl.deploy.onnx_operators import with_onnx_operators
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.files import whole_file, writing
from vestim_pl.networks import State

if TYPE_CHECKING:
    import onnx

__all__ = ["export_onnx", "onnx_model", "onnx_runner"]

_OPSET = 18
_TALKATIVE = ("torch.onnx._internal.exporter._registration", "onnxscript", "onnx_ir")
_REQUIRED = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(estimator: VoltageEstimator, path: str | Path, facts: ModelFacts | None = None) -> float:
    """Write an estimator as an ONNX model, after checking that both compute the same.

    =================  =====================  =======================================================================
    tensor             shape                  meaning
    =================  =====================  =======================================================================
    ``inputs``         ``[batch, length, F]``  features in physical units, in the order of the model's metadata
    ``state_0`` ...    ``[batch, ...]``       state after the previous step; zeros for a new cell
    ``voltage``        ``[batch, length]``    estimated terminal voltage in volts
    ``next_state_0``   ``[batch, ...]``       state after the last step, the next ``state_0``, ...
    =================  =====================  =======================================================================

    The model's metadata have, each as JSON, ``features`` (in order), ``units`` (by feature), ``network`` (name and
    options), ``vestim_pl`` (version) and, where the checkpoint has them, ``interval_s`` (seconds between samples),
    ``ranges`` (least and largest value in the training data, by feature) and ``prediction_intervals``.

    Args:
        estimator: The trained estimator; it is not changed.
        path: File to write; its folder is created.
        facts: The metadata; read from the estimator by default.

    Returns:
        Largest difference between model and estimator, in volts.

    Raises:
        ConfigurationError: If a package is not installed, or the network cannot be exported for any length.
        VestimError: If model and estimator differ; nothing is written.
        FileError: If the file cannot be written; an earlier file stays.

    """
    model = onnx_model(estimator, facts).SerializeToString()
    difference = largest_difference(onnx_runner(model), estimator)
    suggestion = "try other versions of torch, onnxscript and onnxruntime"
    refuse_difference("the ONNX model", difference, estimator, suggestion)
    with writing(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_bytes(model)
    return difference


def onnx_model(estimator: VoltageEstimator, facts: ModelFacts | None = None) -> "onnx.ModelProto":
    """Build the ONNX model of an estimator, see `export_onnx`.

    Raises:
        ConfigurationError: If a package is not installed, or the network cannot be exported for any length.

    """
    _require_packages()
    inputs, state = example_inputs(estimator, batch=2, length=3)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    shapes = {"inputs": {0: batch, 1: length}, "state": tuple({0: batch} for _ in state)}
    with _quiet(), torch.no_grad():
        try:
            module = _Exported(estimator)
            program = torch.export.export(module, (inputs, *state), dynamic_shapes=shapes, strict=False)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise _refusal(estimator, str(error).strip().splitlines()[0]) from error
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=_OPSET,
            verbose=False,
            input_names=["inputs", *(f"state_{index}" for index in range(len(state)))],
            output_names=["voltage", *(f"next_state_{index}" for index in range(len(state)))],
        )
    model = cast("onnx.ModelProto", cast("Any", exported).model_proto)
    _name_dimensions(model, estimator)
    _describe(model, facts or model_facts(estimator))
    return model


def onnx_runner(model: bytes) -> Callable[[Tensor, State], tuple[Tensor, State]]:
    """Load a serialised model into ONNX Runtime, to be called as an estimator is: inputs and state in and out."""
    _require_packages()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [argument.name for argument in session.get_inputs()]

    def run(inputs: Tensor, state: State) -> tuple[Tensor, State]:
        feeds = {name: tensor.numpy() for name, tensor in zip(names, (inputs, *state), strict=True)}
        volts, *carried = (torch.from_numpy(array) for array in session.run(None, feeds))
        return volts, tuple(carried)

    return run


class _Exported(nn.Module):
    """The estimator with flat inputs and outputs; each recurrence is a single ONNX operator."""

    def __init__(self, estimator: VoltageEstimator) -> None:
        super().__init__()
        self.estimator = with_onnx_operators(copy_estimator(estimator, "cpu"))

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        volts, carried = self.estimator(inputs, state)
        return (volts, *carried)


def _name_dimensions(model: "onnx.ModelProto", estimator: VoltageEstimator) -> None:
    """Name the free dimensions; refuse a model in which the exporter fixed one."""
    inputs, voltage = (value.type.tensor_type.shape.dim for value in (model.graph.input[0], model.graph.output[0]))
    names = {inputs[0].dim_param: "batch", inputs[1].dim_param: "length"}
    if "" in names or len(names) < 2 or not all(dimension.dim_param for dimension in voltage):
        raise _refusal(estimator, "the exporter fixed a dimension")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = re.sub(r"\w+", lambda found: names.get(found[0], found[0]), dimension.dim_param)


def _describe(model: "onnx.ModelProto", facts: ModelFacts) -> None:
    """Write the metadata for users of the file, and remove what the exporter wrote about this machine."""
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces with paths of this machine
    del model.metadata_props[:], model.graph.metadata_props[:]
    model.producer_name, model.producer_version = "vestim_pl", facts.version
    model.doc_string = "Terminal voltage of a lithium-ion cell in volts, from features in physical units"
    for key, value in facts.metadata().items():
        model.metadata_props.add(key=key, value=json.dumps(value))


def _refusal(estimator: VoltageEstimator, reason: str) -> ConfigurationError:
    name = estimator.hparams["network"].get("name")
    return ConfigurationError(
        f"network.name: {name} cannot be exported to ONNX for any batch and length ({reason}); use StreamingEstimator"
    )


def _require_packages() -> None:
    missing = [package for package in _REQUIRED if find_spec(package) is None]
    if missing:
        raise ConfigurationError(f"export: {', '.join(missing)} not installed; run pip install 'vestim_pl[onnx]'")
    if not hasattr(torch.onnx, "ops"):
        raise ConfigurationError(f"export: torch {torch.__version__} is too old for ONNX; install torch 2.8 or newer")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's messages about unrelated packages."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
