"""The callbacks with models of pytorch-forecasting, which are ``lightning.pytorch`` modules."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch

from tests.peers.conftest import NanInOneBatch

forecasting = pytest.importorskip("pytorch_forecasting", reason="pytorch-forecasting is in ./scripts/test --peers")
MODELS = ["RecurrentNetwork", "TemporalFusionTransformer"]


@pytest.fixture(scope="module")
def series() -> Any:
    step = np.arange(60)
    frame = pd.concat(
        [
            pd.DataFrame({"step": step, "cell": str(cell), "voltage": 3.6 + 0.2 * np.sin(step / 5 + cell)})
            for cell in range(4)
        ],
        ignore_index=True,
    )
    return forecasting.TimeSeriesDataSet(
        frame,
        time_idx="step",
        target="voltage",
        group_ids=["cell"],
        max_encoder_length=8,
        max_prediction_length=2,
        time_varying_unknown_reals=["voltage"],
    )


def fit(
    series: Any, name: str, callbacks: Any, root: Path, lr: float = 1e-2, epochs: int = 3, ckpt_path: Any = None
) -> Any:
    pl.seed_everything(7)
    model = getattr(forecasting, name).from_dataset(series, learning_rate=lr, hidden_size=8)
    trainer = pl.Trainer(
        max_epochs=epochs,
        limit_train_batches=10,
        limit_val_batches=2,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        default_root_dir=root,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(
        model,
        series.to_dataloader(train=True, batch_size=16, num_workers=0),
        series.to_dataloader(train=False, batch_size=16, num_workers=0),
        ckpt_path=ckpt_path,
        weights_only=False if ckpt_path else None,  # its hyperparameters hold classes of its own
    )
    return model, trainer


def weights(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def kinds(tmp_path: Path) -> list[str]:
    return [json.loads(line)["kind"] for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", MODELS)
def test_a_sound_training_applies_every_step(name, series, stability, tmp_path):
    callbacks = stability()
    _, trainer = fit(series, name, callbacks.values(), tmp_path)
    assert (callbacks["guard"].applied_steps, callbacks["guard"].skipped_steps) == (30, 0)
    assert trainer.callback_metrics["recovery/attempts"] == 0


@pytest.mark.parametrize("name", MODELS)
def test_a_nan_in_a_batch_costs_one_step(name, series, stability, tmp_path):
    """The model replaces its NaN loss by a constant of 1e9 without a graph, which ends a training without the guard."""
    callbacks = stability()
    nan = NanInOneBatch(lambda batch: batch[0]["encoder_cont"])
    model, trainer = fit(series, name, [nan, *callbacks.values()], tmp_path)
    assert trainer.current_epoch == 3
    assert (callbacks["guard"].applied_steps, callbacks["guard"].skipped_steps) == (29, 1)
    assert torch.isfinite(weights(model)).all()
    assert kinds(tmp_path).count("skip") == 1


@pytest.mark.parametrize("name", MODELS)
def test_a_learning_rate_that_diverges_is_cut_until_the_model_learns(name, series, stability, tmp_path):
    model, trainer = fit(series, name, stability().values(), tmp_path, lr=1e6)
    assert trainer.current_epoch == 3
    assert torch.isfinite(weights(model)).all()
    assert "rollback" in kinds(tmp_path)


@pytest.mark.parametrize("name", MODELS)
def test_a_resumed_training_equals_an_uninterrupted_one(name, series, stability, tmp_path):
    whole, _ = fit(series, name, stability().values(), tmp_path, epochs=4)
    _, stopped = fit(series, name, stability("first").values(), tmp_path, epochs=2)
    stopped.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = fit(series, name, stability("rest").values(), tmp_path, epochs=4, ckpt_path=tmp_path / "half.ckpt")
    assert torch.equal(weights(resumed), weights(whole))
