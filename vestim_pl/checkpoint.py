"""From a checkpoint file, or from a training in progress, to an estimator for deployment."""

from pathlib import Path

import torch

from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.errors import ConfigurationError

__all__ = ["copy_estimator", "load_estimator"]


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


def copy_estimator(estimator: VoltageEstimator, device: str | torch.device | None = None) -> VoltageEstimator:
    """Copy of an estimator for deployment: in evaluation mode, without gradients, without its trainer.

    Draws nothing from the random state of a training in progress.

    Args:
        estimator: The estimator; it is left as it is.
        device: Where the copy computes; where the estimator is by default.

    Example::

        >>> estimator = VoltageEstimator(["Current"], {"name": "LSTM", "hidden_sizes": [4]})
        >>> copied = copy_estimator(estimator)
        >>> estimator.training, copied.training, next(copied.parameters()).requires_grad
        (True, False, False)

    """
    with torch.random.fork_rng(devices=[]):  # building draws initial weights
        copied = type(estimator)(**estimator.hparams)
    copied.load_state_dict(estimator.state_dict())
    return copied.to(device or estimator.scaler.input_mean.device).eval().requires_grad_(False)
