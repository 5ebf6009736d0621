"""Load checkpoints that may be damaged or malicious, and build estimators for deployment from them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vestim_pl.errors import ConfigurationError, name_error, printable
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.finiteness import find_nonfinite
from vestim_pl.lightning_support.outsized import refuse_outsized
from vestim_pl.lightning_support.tensor_archive import UnusableFileError, read_archive

__all__ = ["build_estimator", "copy_estimator", "load_checkpoint", "load_estimator"]

_SETTINGS = VoltageEstimator.CHECKPOINT_HYPER_PARAMS_KEY
_TO_RESUME = ("epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers")
_KIND = "checkpoint of a training"
_GIVE = "give last.ckpt or best.ckpt of a run"


def load_checkpoint(path: str | Path, *, to_resume: bool = False, setting: str = "ckpt_path") -> dict[str, Any]:
    """Load a checkpoint, or say in one line why it cannot be used.

    The file is not trusted. Every record of the archive must match its checksum, so a flipped bit is found. The content
    is read with ``weights_only``, so no code in it runs. Every weight must be finite. The settings in it are not
    checked; `load_estimator` does that.

    Args:
        path: The file.
        to_resume: Whether training resumes from it, which also needs optimizers and counters.
        setting: Name of the path in the message.

    Returns:
        The checkpoint on the CPU; its ``state_dict`` has tensors by name.

    Raises:
        ConfigurationError: With the path, the problem, and what to do.

    Example::

        >>> load_checkpoint("nowhere.ckpt")
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: ckpt_path: nowhere.ckpt does not exist; give ...

    """
    path = Path(path)
    try:
        checkpoint = read_archive(path, _KIND, _GIVE)
        if not isinstance(checkpoint, dict):
            raise UnusableFileError(f"is no {_KIND} but a {type(checkpoint).__name__}; {_GIVE}")
        _check_keys(checkpoint, to_resume)
        _check_tensors(checkpoint, to_resume, largest=path.stat().st_size)
    except UnusableFileError as fault:
        raise ConfigurationError(f"{setting}: {path} {printable(str(fault))}") from None
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror or error}") from None
    return checkpoint


def load_estimator(path: str | Path, device: str | torch.device = "cpu") -> VoltageEstimator:
    """Build the estimator of a checkpoint, in evaluation mode.

    The file is not trusted: no code in it runs, its weights must be finite and fit its settings, and its size bounds
    time and memory.

    Args:
        path: Checkpoint of a training.
        device: Device of the estimator.

    Raises:
        ConfigurationError: If the file does not exist, is damaged, or is no checkpoint of a voltage estimator.

    """
    return build_estimator(load_checkpoint(path), path).to(device)


def build_estimator(checkpoint: Mapping[str, Any], path: str | Path, setting: str = "ckpt_path") -> VoltageEstimator:
    """Build the estimator of a checkpoint from `load_checkpoint`, on the CPU, in evaluation mode.

    Args:
        checkpoint: Content of the file, which is not trusted.
        path: The file, for the message.
        setting: Name of the path in the message.

    Raises:
        ConfigurationError: If the content builds no voltage estimator, or one of another size than its weights.

    """
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
            f"{setting}: {path} is no checkpoint of a voltage estimator: it {printable(str(fault))}; give one that"
            " vestim_pl.train wrote"
        ) from None
    return estimator.eval()


def copy_estimator(estimator: VoltageEstimator, device: str | torch.device | None = None) -> VoltageEstimator:
    """Copy an estimator for deployment: in evaluation mode, without gradients, without its trainer.

    The random state of a running training stays unchanged.

    Args:
        estimator: The estimator; it is not changed.
        device: Device of the copy; that of the estimator by default.

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


def _check_keys(checkpoint: Mapping[str, Any], to_resume: bool) -> None:
    weights = checkpoint.get("state_dict")
    if not isinstance(weights, Mapping) or not weights:
        raise UnusableFileError(f"is no {_KIND}: it has no state_dict; {_GIVE}")
    for name, weight in weights.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor) or not _is_plain(weight):
            raise UnusableFileError(f"is no {_KIND}: {name} in its state_dict is no plain tensor; give another file")
    if to_resume and (missing := [key for key in _TO_RESUME if key not in checkpoint]):
        raise UnusableFileError(
            f"has weights but no training to resume ({missing[0]} is missing); give last.ckpt of a run"
        )
    states = checkpoint["optimizer_states"] if to_resume else [{}]
    if not isinstance(states, list) or not states:  # Lightning would silently resume without the moments
        raise UnusableFileError("has no state of an optimizer to resume; give last.ckpt of a run")


def _check_tensors(checkpoint: Mapping[str, Any], to_resume: bool, largest: int) -> None:
    """Refuse non-finite numbers, and tensors larger than the file, which repeat their data and would take forever."""
    named = list(checkpoint["state_dict"].items())
    if to_resume:
        named += list(_tensors("optimizer", checkpoint["optimizer_states"]))
    for name, tensor in named:
        if not _is_plain(tensor) or tensor.numel() * tensor.element_size() > largest:
            raise UnusableFileError(f"is no {_KIND}: {name} is larger than the file; give another file")
    if bad := find_nonfinite(named, limit=1):
        raise UnusableFileError(f"has non-finite numbers: {bad[0]}; give another checkpoint of that run")


def _is_plain(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor can be checked."""
    return tensor.device.type == "cpu" and tensor.layout is torch.strided and not tensor.is_quantized


def _tensors(name: str, data: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested containers with their dotted path."""
    if isinstance(data, Tensor):
        yield name, data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _tensors(f"{name}.{key}", value)
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from _tensors(f"{name}.{index}", value)


def _build(settings: Mapping[str, Any]) -> VoltageEstimator:
    try:
        return VoltageEstimator(**settings)
    except Exception as error:  # settings in a file can raise anything
        raise UnusableFileError(f"has hyper_parameters that build no estimator: {name_error(error)}") from error


def _refuse_misfits(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    for name in sorted(wanted.keys() | weights.keys()):
        there, here = (list(tensors[name].shape) if name in tensors else "none" for tensors in (weights, wanted))
        if there != here:
            raise UnusableFileError(f"has {name} of shape {there} in its weights and {here} by its hyper_parameters")
