"""What the pages under docs/ show runs as it stands."""

import math
import re
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from vestim_pl.callbacks import StepGuard

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture
def example(monkeypatch) -> dict:
    """Names of the page on truncated backpropagation, after its training."""
    [code] = re.findall(r"```python\n(.*?)```", (DOCS / "truncated_backpropagation.md").read_text(), flags=re.DOTALL)
    original = Trainer.__init__

    def quiet(self, **options):
        options = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False} | options
        original(self, **options, accelerator="cpu", enable_model_summary=False)

    monkeypatch.setattr(Trainer, "__init__", quiet)
    torch.manual_seed(0)
    names: dict = {}
    exec(compile(code, "truncated_backpropagation.md", "exec"), names)
    return names


def test_a_foreign_module_learns_from_streams(example):
    batch = next(iter(example["loader"]))
    module = example["Oscillator"]()
    untrained = module.training_step(batch, 0)
    trained = example["trainer"].lightning_module
    trained.carried = None
    with torch.no_grad():
        loss = trained.training_step(batch, 0)
    assert loss < 0.01 * untrained
    assert example["trainer"].global_step == 20 * len(example["loader"])


def test_a_foreign_module_resumes_within_an_epoch(example, tmp_path):
    """Accumulation, clipping and a callback are on; stopped in the third epoch and resumed equals never stopped."""

    def fit(module, steps, ckpt_path=None):
        torch.manual_seed(0)
        sampler = example["StreamBatchSampler"]([900, 400, 700], chunk=50, lanes=4, burn_in=10, seed=1)
        loader = example["ResumableLoader"](example["Chunks"](), sampler)
        checkpoint = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=steps, save_top_k=-1)
        trainer = Trainer(
            max_steps=steps, max_epochs=-1, gradient_clip_val=0.5, accumulate_grad_batches=2, enable_checkpointing=True,
            callbacks=[StepGuard(), checkpoint],
        )  # fmt: skip
        trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        return module

    updates = math.ceil(len(example["loader"]) / 2)  # in an epoch
    assert updates > 3
    start = example["Oscillator"]().state_dict()

    def fresh():
        module = example["Oscillator"]()
        module.load_state_dict(start)
        return module

    stop, end = 2 * updates + 2, 3 * updates + 1
    whole = fit(fresh(), end)
    fit(fresh(), stop)
    resumed = fit(fresh(), end, tmp_path / f"step={stop}.ckpt")
    for (name, left), right in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(left, right), name
    assert all(torch.equal(left, right) for left, right in zip(whole.carried, resumed.carried, strict=True))
