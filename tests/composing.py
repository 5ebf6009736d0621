"""Configurations composed in the process of a test."""

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from vestim_pl.app.conf_tree import conf_folder

__all__ = ["compose"]


def compose(*overrides: str, command: str = "train") -> DictConfig:
    """Compose what a command composes from its command line; ``run_dir`` is ``run`` where a command has one."""
    GlobalHydra.instance().clear()
    run_dir = ["run_dir=run"] if command in ("train", "evaluate", "diagnose") else []
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return hydra.compose(command, [*run_dir, *overrides])
