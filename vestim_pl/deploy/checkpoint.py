"""From a checkpoint file, or from a training in progress, to an estimator for deployment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vestim_pl.deploy.checkpoint_file import check_checkpoint
from vestim_pl.errors import ConfigurationError, name_error, printable
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.lightning_support.outsized import refuse_outsized
from vestim_pl.lightning_support.tensor_archive import UnusableFileError

__all__ = ["copy_estimator", "load_estimator"]

_SETTINGS = VoltageEstimator.CHECKPOINT_HYPER_PARAMS_KEY


def load_estimator(path: str | Path, device: str | torch.device = "cpu") -> VoltageEstimator:
    """Estimator of a checkpoint, in evaluation mode.

    The file may be damaged or made to do harm: no code in it runs, its weights are finite and fit its settings, and
    time and memory are bounded by its size.

    Args:
        path: Checkpoint that a training wrote.
        device: Where it computes.

    Raises:
        ConfigurationError: If there is no such file, it is damaged, or no checkpoint of a voltage estimator.

    """
    checkpoint = check_checkpoint(path)
    weights, settings = checkpoint["state_dict"], checkpoint.get(_SETTINGS)
    try:
        if not isinstance(settings, dict):
            raise UnusableFileError("has no hyper_parameters")
        refuse_outsized(settings, weights)
        with torch.random.fork_rng(devices=[]):  # building draws initial weights
            with torch.device("meta"):
                _refuse_misfits(_build(settings).state_dict(), weights)
            estimator = _build(settings)
        estimator.load_state_dict(weights)
    except UnusableFileError as fault:
        raise ConfigurationError(
            f"ckpt_path: {path} is no checkpoint of a voltage estimator: it {printable(str(fault))}; give one that"
            " vestim_pl.train wrote"
        ) from None
    return estimator.to(device).eval()


def _build(settings: Mapping[str, Any]) -> VoltageEstimator:
    try:
        return VoltageEstimator(**settings)
    except Exception as error:  # what a file says may make anything raise
        raise UnusableFileError(f"has hyper_parameters that build nothing: {name_error(error)}") from error


def _refuse_misfits(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    for name in sorted(wanted.keys() | weights.keys()):
        there, here = (list(tensors[name].shape) if name in tensors else "none" for tensors in (weights, wanted))
        if there != here:
            raise UnusableFileError(f"has {name} of shape {there} in its weights and {here} by its hyper_parameters")


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
