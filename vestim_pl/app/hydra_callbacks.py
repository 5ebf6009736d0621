"""What Hydra calls before it makes the folder of a run and opens its log."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from vestim_pl.app.early_check import refuse_mistakes
from vestim_pl.errors import VestimError

__all__ = ["RefuseMistakes", "RefusedRun", "composed"]


class RefusedRun(SystemExit):  # noqa: N818 - no error of the program
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
