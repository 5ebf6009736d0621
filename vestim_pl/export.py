"""Write a checkpoint as a model for other programs: ``python -m vestim_pl.export ckpt_path=... format=onnx``."""

from vestim_pl.lightning_support import early_signals  # noqa: F401 - before torch, whose import takes seconds

# isort: split
import sys

from vestim_pl.app.command import run_command

if __name__ == "__main__":  # before the imports below, so that a mistake on the command line is reported at once
    run_command("vestim_pl.export:main", "export")
    sys.exit()

# isort: split
import logging
from pathlib import Path

from omegaconf import DictConfig

from vestim_pl.app.conf_tree import plain
from vestim_pl.app.interruption import now
from vestim_pl.deploy.c_code.c_export import CExport, export_c
from vestim_pl.deploy.checkpoint import load_checkpoint, load_estimator
from vestim_pl.deploy.facts import ModelFacts, model_facts
from vestim_pl.deploy.onnx_export import export_onnx
from vestim_pl.deploy.torch_export import export_torch
from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.names import nearest

__all__ = ["export", "main"]

_log = logging.getLogger("vestim_pl")
_ENDINGS = {"onnx": ".onnx", "torch_export": ".pt2", "c": "_c"}


def export(config: DictConfig) -> Path:
    """Write the checkpoint as an ONNX model, and log its inputs, units and accuracy.

    Args:
        config: The composed configuration of ``conf/export.yaml``.

    Returns:
        The file or folder that was written.

    Raises:
        ConfigurationError: If the file is not a checkpoint of an estimator, a package is missing, or the network cannot
            be exported.
        VestimError: If the exported model computes something else than the checkpoint; nothing is written.

    """
    kind, name, quantize = _choices(config)
    now("exporting", "nothing was written; the same command starts again")
    checkpoint = Path(str(config.ckpt_path))
    path = Path(str(config.path)) if config.path else checkpoint.with_name(checkpoint.stem + _ENDINGS[kind])
    estimator = load_estimator(checkpoint)
    facts = model_facts(estimator, plain(config.columns), load_checkpoint(checkpoint))
    if kind == "c":
        lines = _describe_c(export_c(estimator, path, facts, name, quantize))
    else:
        difference = (export_onnx if kind == "onnx" else export_torch)(estimator, path, facts)
        lines = [f"voltage [batch, length] in V, within {difference * 1000:.2g} mV of the checkpoint"]
    _log.info("inputs%s: %s", "" if kind == "c" else f" [batch, length, {len(facts.features)}]", _features(facts))
    for line in lines:
        _log.info(line)
    _log.info("written to %s", path)
    return path


def main(config: DictConfig) -> None:
    """Task of the command: export."""
    export(config)


def _choices(config: DictConfig) -> tuple[str, str, bool]:
    kind = str(config.format)
    if kind not in _ENDINGS:
        raise ConfigurationError(f"format: there is no format {kind!r}; {nearest(kind, _ENDINGS)}")
    if config.quantize not in (None, "int8"):
        raise ConfigurationError(f"quantize: {config.quantize!r} is neither int8 nor null; use quantize=int8")
    if config.quantize is not None and kind != "c":
        raise ConfigurationError(f"quantize: {config.quantize} is for format=c, not for {kind}; add format=c")
    return kind, str(config.name), config.quantize is not None


def _features(facts: ModelFacts) -> str:
    return ", ".join(f"{name} [{facts.units.get(name, 'as in training')}]" for name in facts.features)


def _describe_c(result: CExport) -> list[str]:
    program = result.program
    calls = ", ".join(f"{count} {name}" for name, count in sorted(program.calls.items()))
    lines = [
        f"flash: {program.flash_bytes:,} bytes of weights; the code adds 1 to 3 kB",
        f"RAM: {program.state_bytes:,} bytes of state for each cell, and {program.stack_bytes:,} on the stack",
        f"work: {program.multiply_adds:,} multiply-adds a step, and calls of libm ({calls})",
    ]
    if result.rounding is not None:
        lines.append(
            f"8-bit weights change the voltage by {result.rounding * 1000:.2g} mV RMS on random inputs; compare both on"
            " your recordings"
        )
    if result.difference is None:
        return [
            *lines,
            "not compared with the checkpoint, because there is no C compiler: install gcc and export again",
        ]
    exact = "the checkpoint" if result.rounding is None else "the checkpoint with the same 8-bit weights"
    return [*lines, f"compiled and compared: within {result.difference * 1000:.2g} mV of {exact}"]
