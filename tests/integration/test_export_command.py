"""The export command: one grammar, a model beside the checkpoint, one line for a mistake."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from omegaconf import DictConfig

from tests import composing
from tests.integration.forked import run_module
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.export import export as export_checkpoint

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    estimator = VoltageEstimator(["SOC", "I", "Temp"], {"name": "FNN", "hidden_sizes": [4]})
    estimator.scaler.fit(torch.randn(100, 3), 3.7 + 0.2 * torch.randn(100))
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(estimator)
    trainer.save_checkpoint(tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


def command(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return run_module(folder, "vestim_pl.export", *overrides)


def test_the_model_lies_beside_the_checkpoint_and_the_command_says_what_it_takes(checkpoint):
    run = command(checkpoint.parent, f"ckpt_path={checkpoint}", "columns.current=I")
    assert run.returncode == 0, run.stderr
    assert "SOC [0..1], I [A, discharge negative], Temp [degC]" in run.stdout + run.stderr
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["best.ckpt", "best.onnx"]
    metadata = {
        entry.key: json.loads(entry.value) for entry in onnx.load(checkpoint.with_suffix(".onnx")).metadata_props
    }
    assert metadata["units"] == {"SOC": "0..1", "I": "A, discharge negative", "Temp": "degC"}


def test_a_mistake_is_one_line(checkpoint):
    run = command(checkpoint.parent, "ckpt_path=best.ckpt", "pth=model.onnx")
    assert run.returncode == 1
    assert run.stderr.strip() == "error: pth: no such key; did you mean path?"
    assert not list(checkpoint.parent.glob("*.onnx"))


def compose(*overrides: str) -> DictConfig:
    return composing.compose(*overrides, command="export")


def test_path_is_where_it_is_written(checkpoint):
    path = export_checkpoint(compose(f"ckpt_path={checkpoint}", "path=models/cell.onnx"))
    assert path == Path("models/cell.onnx")
    assert path.is_file()


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "some.txt").write_text("text")
    for name, problem in (("none.ckpt", "does not exist"), ("some.txt", "is no checkpoint of a training")):
        with pytest.raises(ConfigurationError, match=rf"^ckpt_path: {name} {problem}"):
            export_checkpoint(compose(f"ckpt_path={name}"))
