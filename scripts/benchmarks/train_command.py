"""Trainer, estimator and data of the train command, built from its configuration for benchmarks."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import hydra
import lightning.pytorch as pl
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from torch import Tensor, nn

from vestim_pl.app.configuration import check, conf_folder
from vestim_pl.app.estimator import build_estimator
from vestim_pl.app.trainer import build_trainer
from vestim_pl.data import VoltageDataModule
from vestim_pl.estimator import VoltageEstimator

__all__ = ["Run", "build_run", "compose", "data_overrides", "disabled", "load_weights"]


class Run(NamedTuple):
    """Arguments with which the train command calls ``fit``."""

    config: DictConfig
    trainer: pl.Trainer
    estimator: VoltageEstimator
    datamodule: VoltageDataModule


def data_overrides(data: str | None) -> list[str]:
    """Return the overrides for a folder of recordings, or for the demo data."""
    return ["data=folder", f"data.root={Path(data).resolve()}"] if data else []


def disabled(*callbacks: str) -> list[str]:
    """Return the overrides that switch callbacks off."""
    return [f"callbacks.{name}=null" for name in callbacks]


def compose(overrides: Sequence[str], run_dir: Path | str) -> DictConfig:
    """Compose and check the configuration of a command line."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = hydra.compose("train", [*overrides, f"run_dir={run_dir}", "trainer.accelerator=cpu"])
    check(config)
    return config


def build_run(overrides: Sequence[str], run_dir: Path | str, callbacks: Sequence[pl.Callback] = ()) -> Run:
    """Build trainer, estimator and data of a command line.

    Args:
        overrides: The command line.
        run_dir: Where the run writes.
        callbacks: Callbacks of the benchmark, before all others.

    """
    config = compose(overrides, run_dir)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    sampling = hydra.utils.instantiate(config.sampling, _convert_="all")
    datamodule = hydra.utils.instantiate(config.data, _convert_="all", _partial_=True)(sampling=sampling)
    datamodule.setup("fit")
    estimator = build_estimator(config, datamodule)
    trainer = build_trainer(config)
    trainer.callbacks[:0] = callbacks  # type: ignore[attr-defined]
    return Run(config, trainer, estimator, datamodule)


def load_weights(network: nn.Module, weights: Mapping[str, Tensor] | Sequence[Tensor]) -> None:
    """Copy weights in the order of the parameters, between networks whose layers have other names."""
    values = list(weights.values()) if isinstance(weights, Mapping) else list(weights)
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), values, strict=True):
            parameter.copy_(value)
