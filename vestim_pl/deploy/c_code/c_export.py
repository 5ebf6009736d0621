"""Export a voltage estimator to plain C99."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from vestim_pl.deploy.c_code.compiler import c_compiler, estimate_with_c
from vestim_pl.deploy.c_code.generator import c_files, c_program
from vestim_pl.deploy.c_code.program import Program
from vestim_pl.deploy.c_code.quantization import with_rounded_weights
from vestim_pl.deploy.checkpoint import copy_estimator
from vestim_pl.deploy.comparison import example_inputs, refuse_difference
from vestim_pl.deploy.facts import ModelFacts, model_facts
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.files import writing

__all__ = ["CExport", "export_c"]

_STEPS = 500


@dataclass(frozen=True)
class CExport:
    """Result of an export.

    Attributes:
        program: Size and cost of the program.
        difference: Largest difference between C and estimator in volts; None if there is no compiler.
        rounding: RMS change of the voltage by 8-bit weights, in volts, on random inputs; None without them.

    """

    program: Program
    difference: float | None
    rounding: float | None


def export_c(
    estimator: VoltageEstimator,
    path: str | Path,
    facts: ModelFacts | None = None,
    name: str = "cell_voltage",
    quantize: bool = False,
) -> CExport:
    """Write an estimator as a folder of C files, after checking that both compute the same.

    =================== ==================================================================
    file                content
    =================== ==================================================================
    ``NAME.h``          inputs, state, and the functions to call
    ``NAME.c``          one step of the estimator; needs ``<math.h>`` only, allocates nothing
    ``NAME_weights.h``  the weights
    ``main.c``          reads a CSV file and writes the voltages
    ``Makefile``        builds ``main.c``
    =================== ==================================================================

    Args:
        estimator: The trained estimator; it is not changed.
        path: Folder to write; an earlier export there is replaced.
        facts: What is known about it; read from the estimator by default.
        name: Prefix of all public names, a C identifier.
        quantize: Whether weights have 8 bits, each row of a matrix with its own scale.

    Raises:
        ConfigurationError: If the network has no C code, the name is no C identifier, or the folder has other files.
        VestimError: If C and estimator differ; nothing is written.
        FileError: If the folder cannot be written.

    """
    path = Path(path)
    estimator = copy_estimator(estimator, "cpu")
    program = c_program(estimator, name, quantize)
    files = c_files(estimator, program, facts or model_facts(estimator))
    _refuse_other_files(path, files)
    reference = with_rounded_weights(estimator) if quantize else estimator
    compiler = c_compiler()
    difference = None if compiler is None else _difference(files, program, reference, compiler)
    if difference is not None:
        refuse_difference("the C code", difference, reference, "use format=onnx, and report the network's options")
    _write(path, files)
    return CExport(program, difference, _rounding(estimator, reference) if quantize else None)


@torch.inference_mode()
def _difference(files: Mapping[str, str], program: Program, reference: VoltageEstimator, compiler: str) -> float:
    inputs, _ = example_inputs(reference, 1, _STEPS)
    names = reference.hparams["features"]
    volts = estimate_with_c(files, program.prefix, names, inputs[0].numpy(), compiler)
    expected, _ = reference(inputs)
    return float((torch.from_numpy(volts) - expected[0]).abs().max())


@torch.inference_mode()
def _rounding(estimator: VoltageEstimator, rounded: VoltageEstimator) -> float:
    inputs, _ = example_inputs(estimator, 4, _STEPS)
    return float((rounded(inputs)[0] - estimator(inputs)[0]).square().mean().sqrt())


def _refuse_other_files(path: Path, files: Mapping[str, str]) -> None:
    """Refuse a folder with files that are not of an earlier export, because the export replaces the folder."""
    if path.is_dir():
        built = {Path(name).stem for name in files} | {f"{Path(name).stem}.o" for name in files}
        others = sorted(entry.name for entry in path.iterdir() if entry.name not in files and entry.name not in built)
        if others:
            raise ConfigurationError(f"path: {path} has other files, such as {others[0]}; give a new folder")
    elif path.exists():
        raise ConfigurationError(f"path: {path} is a file; format=c writes a folder")


def _write(path: Path, files: Mapping[str, str]) -> None:
    """Write all files to a folder beside the target, then rename it."""
    partial = path.with_name(f"{path.name}.partial")
    with writing(path):
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for name, text in files.items():
                (partial / name).write_text(text, encoding="ascii")
            if path.is_dir():
                shutil.rmtree(path)
            partial.rename(path)
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(partial)
            raise
