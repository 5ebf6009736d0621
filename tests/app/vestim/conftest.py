"""The configuration tree with the schedules that VEstim's files name."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from vestim_pl.app.configuration import conf_folder

SCHEDULES = {
    "step": {"name": "step", "period": 10, "factor": 0.5},
    "cosine_warm_restarts": {"name": "cosine_warm_restarts", "t0": 10, "t_mult": 2, "eta_min": 1e-6},
}


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``conf/``."""
    folder = tmp_path_factory.mktemp("tree") / "conf"
    shutil.copytree(conf_folder(), folder)
    for name, values in SCHEDULES.items():
        path = folder / "scheduler" / f"{name}.yaml"
        if not path.exists():
            path.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    return folder


@pytest.fixture
def compose(tree: Path) -> Callable[..., DictConfig]:
    """Compose ``train.yaml`` with overrides, and with further folders of configuration."""

    def _compose(*overrides: str, folders: Sequence[Path] = ()) -> DictConfig:
        GlobalHydra.instance().clear()
        search = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"] if folders else []
        with hydra.initialize_config_dir(str(tree), version_base="1.3"):
            return hydra.compose("train", ["run_dir=run", *search, *overrides])

    return _compose
