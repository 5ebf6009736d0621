"""What the README shows runs as it stands."""

import re
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from tests.composing import compose
from vestim_pl.app.configuration import conf_folder
from vestim_pl.estimator import VoltageEstimator

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_callbacks_example_runs_and_trains(monkeypatch):
    [code] = [block for block in blocks("python") if "Trainer" in block]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 11
    original = Trainer.__init__

    def quiet(self, **options):
        options |= {"logger": False, "enable_progress_bar": False, "accelerator": "cpu"}
        original(self, **options, limit_train_batches=3, limit_val_batches=1, enable_model_summary=False)

    monkeypatch.setattr(Trainer, "__init__", quiet)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["trainer"].global_step == 6


def test_the_streaming_example_runs(monkeypatch):
    estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [4]})
    estimator.scaler.fit(torch.randn(20, 3), torch.randn(20))
    trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(estimator)
    trainer.save_checkpoint("best.ckpt", weights_only=True)
    [code] = [block for block in blocks("python") if "StreamingEstimator" in block]
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert isinstance(names["volts"], float)


def test_it_is_at_most_120_lines_long():
    assert len(README.splitlines()) <= 120


def test_the_table_of_presets_is_that_of_the_files():
    rows = {
        cells[0]: cells[1:]
        for cells in (
            [cell.strip().strip("`") for cell in line.strip("|").split("|")]
            for line in README.split("## Presets")[1].split("\n\n")[1].splitlines()[2:]
        )
    }
    files = {path.stem for path in (conf_folder() / "preset").glob("*.yaml")}
    assert set(rows) == files
    for name, cells in rows.items():
        config = compose(f"+preset={name}")
        assert int(cells[0]) == config.sampling.lookback
        assert [int(size) for size in cells[1].split(",")] == config.network.hidden_sizes
        assert float(cells[2]) == config.optimizer.lr
        assert float(cells[3]) == config.optimizer.weight_decay
        assert float(cells[4]) == config.network.dropout
