"""Refuse mistakes in the settings before a run writes anything."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from vestim_pl.app.early_check import check_before_import
from vestim_pl.errors import ConfigurationError, VestimError
from vestim_pl.settings.override import Override

__all__ = ["RefuseMistakes", "RefusedRun", "composed", "refuse_mistakes"]


def refuse_mistakes(config: DictConfig) -> None:
    """Refuse every mistake in the settings of a job: first what the source shows, then what torch and Lightning know.

    Raises:
        ConfigurationError: With the key, what was found, and a fix.

    """
    _refuse_missing(config)
    _refuse_other_folder(config)
    check_before_import(config)
    import torch

    from vestim_pl.app.configuration import check

    torch.set_flush_denormal(True)  # before the first parallel operation starts torch's threads, see FlushDenormals
    check(config)


class RefusedRun(SystemExit):
    """End a command before its run starts, because of an error; Hydra would only warn of an ``Exception``."""

    def __init__(self, error: Exception) -> None:
        super().__init__(1)
        self.error = error


@contextmanager
def composed(config: DictConfig) -> Iterator[None]:
    """Resolve ``${hydra:...}`` within the block by a configuration that Hydra has composed but not yet published."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


class RefuseMistakes(Callback):
    """Hydra callback: check the settings of a run, so that a mistake leaves no folder behind and moves no earlier run.

    The jobs of a multirun, which Hydra composes one by one, are checked when they start.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        config = config.copy()
        with composed(config), read_write(config.hydra.runtime):
            folder = OmegaConf.select(config, "hydra.run.dir")
            config.hydra.runtime.output_dir = os.path.abspath(folder)
        with composed(config):
            settings = OmegaConf.masked_copy(config, [name for name in map(str, config) if name != "hydra"])
            try:
                refuse_mistakes(settings)
            except (VestimError, OmegaConfBaseException) as error:
                raise RefusedRun(error) from error


def _refuse_missing(config: DictConfig) -> None:
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigurationError(f"{missing[0]}: has no value; give it on the command line: {missing[0]}=...")


def _refuse_other_folder(config: DictConfig) -> None:
    """Refuse another folder than Hydra's, which holds settings and log by now: a run elsewhere would lack them."""
    folder, chosen = HydraConfig.get().runtime.output_dir, config.get("run_dir", None)
    if chosen is not None and Path(str(chosen)).absolute() != Path(folder).absolute():
        raise ConfigurationError(
            f"run_dir: {chosen} is not where Hydra writes settings and log ({folder}); choose the folder of a run with"
            f" {Override('hydra.run.dir', str(chosen))}"
        )
