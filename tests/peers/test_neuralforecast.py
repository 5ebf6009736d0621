"""The callbacks with neuralforecast, whose models are ``pytorch_lightning`` modules; it copies models and callbacks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from tests.peers.conftest import NanInOneBatch
from vestim_pl.callbacks import PlateauLearningRate

neuralforecast = pytest.importorskip("neuralforecast", reason="neuralforecast is in ./scripts/test --peers")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    hours = np.arange(120)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "ds": pd.date_range("2024-01-01", periods=len(hours), freq="h"),
                    "unique_id": str(cell),
                    "y": 3.6 + 0.2 * np.sin(hours / 5 + cell),
                }
            )
            for cell in range(4)
        ],
        ignore_index=True,
    )


@pytest.fixture
def fit(frame: pd.DataFrame, tmp_path: Path) -> Callable[..., Any]:
    def run(callbacks: Any, lr: float = 1e-2, steps: int = 20) -> Any:
        forecast = neuralforecast.NeuralForecast(models=[build(callbacks, tmp_path, lr, steps)], freq="h")
        forecast.fit(frame, val_size=8)
        return forecast

    return run


def build(callbacks: Any, root: Path, lr: float = 1e-2, steps: int = 20) -> Any:
    return neuralforecast.models.LSTM(
        h=4,
        input_size=16,
        max_steps=steps,
        val_check_steps=10,
        learning_rate=lr,
        encoder_hidden_size=8,
        decoder_hidden_size=8,
        encoder_n_layers=1,
        batch_size=2,
        windows_batch_size=8,
        callbacks=list(callbacks),
        default_root_dir=root,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


def events(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]


def weights(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_sound_training_ends_with_forecasts_and_without_events_of_divergence(fit, frame, stability, tmp_path):
    plateau = PlateauLearningRate(monitor="ptl/val_loss")
    forecast = fit(stability(plateau=plateau).values())
    assert np.isfinite(forecast.predict()["LSTM"]).all()
    assert not {event["kind"] for event in events(tmp_path)} & {"skip", "rollback", "non_finite"}


def test_a_nan_in_a_batch_is_named_in_an_event_and_leaves_a_bundle(fit, stability, tmp_path):
    """The model itself ends the training at a NaN loss; what is left must say which batch it was."""
    with pytest.raises(Exception, match="Loss is NaN, training stopped"):
        fit([NanInOneBatch(lambda batch: batch["temporal"][0]), *stability().values()])
    assert len(list((tmp_path / "run" / "bundles").glob("*.pt"))) == 1
    assert any("field temporal of the batch holds nan" in event["reason"] for event in events(tmp_path))


def test_a_learning_rate_that_diverges_is_cut_until_the_model_learns(fit, stability, tmp_path):
    forecast = fit(stability().values(), lr=1e6, steps=60)
    assert torch.isfinite(weights(forecast.models[0])).all()
    assert np.isfinite(forecast.predict()["LSTM"]).all()
    assert "rollback" in {event["kind"] for event in events(tmp_path)}


def test_a_resumed_training_equals_an_uninterrupted_one(frame, stability, tmp_path):
    """With a Trainer of its own, since NeuralForecast.fit takes no checkpoint to resume from."""
    whole, _ = fit_by_trainer(frame, stability("whole").values(), tmp_path, epochs=8)
    _, stopped = fit_by_trainer(frame, stability("first").values(), tmp_path, epochs=4)
    stopped.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = fit_by_trainer(frame, stability("rest").values(), tmp_path, epochs=8, resume=tmp_path / "half.ckpt")
    assert torch.equal(weights(resumed), weights(whole))


def fit_by_trainer(frame: pd.DataFrame, callbacks: Any, root: Path, epochs: int, resume: Path | None = None) -> Any:
    pl.seed_everything(7)
    model = build([], root)
    dataset, *_ = neuralforecast.tsdataset.TimeSeriesDataset.from_df(frame)
    data = neuralforecast.tsdataset.TimeSeriesDataModule(dataset, batch_size=2)
    trainer = pl.Trainer(
        max_epochs=epochs,
        limit_val_batches=0,
        callbacks=list(callbacks),
        default_root_dir=root,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=False if resume else None)
    return model, trainer
