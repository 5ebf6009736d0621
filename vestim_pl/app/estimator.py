"""The recordings and the estimator of a configuration, and the state of the process that they are built in."""

from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig

from vestim_pl.app.conf_tree import plain
from vestim_pl.app.configuration import build
from vestim_pl.callbacks.runtime.denormals import flush_denormals
from vestim_pl.data import VoltageDataModule
from vestim_pl.data.training_data import TrainingData
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator

__all__ = ["build_estimator", "compile_network", "read_recordings", "reset_global_state"]


def read_recordings(config: DictConfig, stage: str, **options: Any) -> VoltageDataModule:
    """Build the data module of the configuration, and read the recordings.

    Args:
        config: The composed configuration of a command.
        stage: ``fit`` or ``test``.
        options: Arguments of the data module that the configuration does not set.

    Raises:
        DataError: If a recording cannot be used.

    """
    datamodule: VoltageDataModule = build(config.data, sampling=build(config.sampling), **options)
    datamodule.setup(stage)
    return datamodule


def build_estimator(config: DictConfig, datamodule: VoltageDataModule) -> VoltageEstimator:
    """Build the estimator of the configuration, and fit its scaler on the training recordings alone.

    Args:
        config: The composed configuration of ``conf/train.yaml``.
        datamodule: The recordings, read.

    """
    specs = {key: plain(config[key]) for key in ("network", "optimizer", "scheduler")}
    rc_pairs = datamodule.rc_pairs.options if datamodule.rc_pairs else None
    estimator = VoltageEstimator(
        features=datamodule.features,
        rc_pairs=rc_pairs,
        preparation=datamodule.preparation.to_dict(),
        data=TrainingData.describe(datamodule).to_dict(),
        **specs,
    )
    table = datamodule.table("train")
    estimator.scaler.fit(table.inputs, table.target)
    return estimator


def reset_global_state(config: DictConfig) -> None:
    """Set seeds and switches of torch, which belong to the process, so that one job leaves nothing to the next."""
    flush_denormals(config.callbacks.get("flush_denormals") is not None)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("high")
    torch.autograd.set_detect_anomaly(False)
    pl.seed_everything(config.seed, workers=True, verbose=False)


def compile_network(estimator: VoltageEstimator) -> None:
    """Compile the estimator's network, for training and evaluation.

    The module keeps its parameters under the same names: checkpoints, export and replay are not affected, and copies
    run uncompiled.

    Args:
        estimator: The estimator, changed in place.

    Raises:
        ConfigurationError: If nothing can be compiled on this machine, which a tiny function shows.

    """
    try:
        torch.compile(torch.sin)(torch.ones(2, device=estimator.device))
    except Exception as error:  # the compiler's own classes of errors are private and change
        found = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigurationError(
            f"compile: true, but torch.compile does not work on this machine ({found}); set compile=false, or install"
            " what it needs (a C++ compiler for the CPU, Triton for CUDA)"
        ) from error
    estimator.network.compile()
