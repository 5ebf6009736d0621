"""From a checkpoint file to an estimator."""

from pathlib import Path

import torch

from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.errors import ConfigurationError

__all__ = ["load_estimator"]


def load_estimator(path: str | Path, device: str | torch.device = "cpu") -> VoltageEstimator:
    """Estimator of a checkpoint, in evaluation mode; nothing is unpickled.

    Args:
        path: Checkpoint that a training wrote.
        device: Where it computes.

    Raises:
        ConfigurationError: If there is no such file, or it is no checkpoint of a voltage estimator.

    """
    if not Path(path).is_file():
        raise ConfigurationError(f"ckpt_path: {path} is not a file; give a checkpoint that a training wrote")
    try:
        return VoltageEstimator.load_from_checkpoint(str(path), map_location=device, weights_only=True).eval()
    except Exception as error:  # a file of another kind fails anywhere: in its format, its types, its keys
        found = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigurationError(
            f"ckpt_path: {path} is no checkpoint of a voltage estimator ({found}); give one that vestim_pl.train wrote"
        ) from error
