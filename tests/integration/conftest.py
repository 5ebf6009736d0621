"""A small folder of recordings, and the train command composed as the command line would."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from tests import composing
from vestim_pl.train import TrainingRun, train


def simulate_recording(rows: int, seed: int, ambient: float = 25.0) -> pd.DataFrame:
    """A recording with the look of a drive cycle: a random current into one RC element on an SOC ramp."""
    generator = np.random.default_rng(seed)
    current = np.repeat(generator.normal(-1.5, 3.0, rows // 5 + 1), 5)[:rows]
    soc = np.clip(0.95 + np.cumsum(current) / 3600 / 3.0, 0.05, 1.0)
    overpotential = np.zeros(rows)
    for step in range(1, rows):
        overpotential[step] = 0.95 * overpotential[step - 1] + 0.05 * 0.02 * current[step]
    voltage = 3.3 + 0.8 * soc + 0.03 * current + overpotential
    temperature = ambient + np.cumsum(np.abs(current)) * 1e-4
    frame = pd.DataFrame(
        {"Time": np.arange(rows), "Current": current, "Voltage": voltage, "Temp": temperature, "SOC": soc}
    )
    return frame.astype("float32")


def write_recordings(root: Path) -> Path:
    """Write train/, val/ and test/ of short recordings, always the same."""
    for split, names in {"train": "abcd", "val": "e", "test": "fg"}.items():
        (root / split).mkdir(parents=True)
        for name in names:
            frame = simulate_recording(260 + 10 * ord(name) % 40, seed=ord(name))
            frame.to_parquet(root / split / f"{name}_25degC.parquet", index=False)
    return root


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Folder with train/, val/ and test/ of short recordings."""
    return write_recordings(tmp_path / "recordings")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """One small training for all tests that only read a run; it is in the parent folder of its ``checkpoints/``."""
    folder = tmp_path_factory.mktemp("trained")
    root = write_recordings(folder / "recordings")
    overrides = ["data=folder", f"data.root={root}", f"run_dir={folder / 'run'}", *SMALL, "coverage=0.5"]
    return train(composing.compose(*overrides, "trainer.max_epochs=1", "sampling.evaluation=streams"))


@pytest.fixture
def compose(tmp_path: Path, recordings: Path) -> Callable[..., DictConfig]:
    """Compose ``train.yaml`` with overrides, on the small recordings, with a small sampling, into ``tmp_path/run``."""

    def _compose(*overrides: str) -> DictConfig:
        given = ["data=folder", f"data.root={recordings}", f"run_dir={tmp_path / 'run'}"]
        return composing.compose(*given, *overrides)

    return _compose


SMALL = (
    "sampling.lookback=20",
    "sampling.batch_size=64",
    "network.hidden_sizes=[6]",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
)


@pytest.fixture
def small() -> tuple[str, ...]:
    """Overrides that make a training on windows last a second."""
    return SMALL


@pytest.fixture
def compose_diagnose(recordings: Path, small: tuple[str, ...]) -> Callable[..., DictConfig]:
    """Compose ``diagnose.yaml`` with overrides, on the small recordings, with a small sampling."""

    def _compose(*overrides: str) -> DictConfig:
        given = ["data=folder", f"data.root={recordings}", *small]
        return composing.compose(*given, *overrides, command="diagnose")

    return _compose
