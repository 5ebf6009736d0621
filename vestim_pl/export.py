"""Write a checkpoint as an ONNX model: ``python -m vestim_pl.export ckpt_path=... path=model.onnx``."""

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

from vestim_pl.app.interruption import now
from vestim_pl.deploy.checkpoint import load_estimator
from vestim_pl.deploy.onnx_export import export_onnx

__all__ = ["export", "main"]

_log = logging.getLogger("vestim_pl")
_UNITS = {"current": "A, discharge negative", "temperature": "degC", "soc": "0..1"}


def export(config: DictConfig) -> Path:
    """Write the checkpoint as an ONNX model, and log its inputs, units and accuracy.

    Args:
        config: The composed configuration of ``conf/export.yaml``.

    Returns:
        The ONNX file.

    Raises:
        ConfigurationError: If the file is not a checkpoint of an estimator, a package is missing, or the network cannot
            be exported.

    """
    now("exporting", "nothing was written; the same command starts again")
    estimator = load_estimator(str(config.ckpt_path))
    path = Path(str(config.path)) if config.path else Path(str(config.ckpt_path)).with_suffix(".onnx")
    units = {str(config.columns[quantity]): unit for quantity, unit in _UNITS.items()}
    difference = export_onnx(estimator, path, units)
    features = ", ".join(f"{name} [{units.get(name, 'as in training')}]" for name in estimator.hparams["features"])
    _log.info("inputs [batch, length, %d]: %s", len(estimator.hparams["features"]), features)
    _log.info("voltage [batch, length] in V, within %.2g mV of the checkpoint", difference * 1000)
    _log.info("written to %s", path)
    return path


def main(config: DictConfig) -> None:
    """Task of the command: export."""
    export(config)
