"""The estimator of a configuration, and the state of the process that it is built in."""

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig

from vestim_pl.app.conf_tree import plain
from vestim_pl.callbacks.runtime.denormals import flush_denormals
from vestim_pl.data import VoltageDataModule
from vestim_pl.estimator import VoltageEstimator

__all__ = ["build_estimator", "reset_global_state"]


def build_estimator(config: DictConfig, datamodule: VoltageDataModule) -> VoltageEstimator:
    """Build the estimator of the configuration, and fit its scaler on the training recordings alone.

    Args:
        config: The composed configuration of ``conf/train.yaml``.
        datamodule: The recordings, read.

    """
    specs = {key: plain(config[key]) for key in ("network", "optimizer", "scheduler")}
    rc_pairs = datamodule.rc_pairs.options if datamodule.rc_pairs else None
    estimator = VoltageEstimator(
        features=datamodule.features, rc_pairs=rc_pairs, preparation=datamodule.preparation.to_dict(), **specs
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
