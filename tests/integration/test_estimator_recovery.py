"""The estimator with the guards on: a bad row is skipped and named; bad weights are rolled back."""

import pytest
import torch

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import Recorder, fit
from vestim_pl.callbacks import DivergenceRecovery, FiniteParameterGuard, StepGuard
from vestim_pl.data import StreamSampling, VoltageDataModule, WindowSampling
from vestim_pl.estimator import VoltageEstimator

NAN = float("nan")
SAMPLINGS = {
    "windows": WindowSampling(lookback=20, batch_size=64, evaluation="streams"),
    "streams": StreamSampling(lookback=20, lanes=4, burn_in=5),
}


def train(recordings, sampling, fault=None):
    torch.manual_seed(0)
    data = VoltageDataModule(str(recordings), SAMPLINGS[sampling])
    data.prepare_data()
    data.setup("fit")
    estimator = VoltageEstimator(data.features, {"name": "LSTM", "hidden_sizes": [6]}, {"name": "Adam", "lr": 1e-2})
    table = data.table("train")
    estimator.scaler.fit(table.inputs, table.target)
    recorder = Recorder()
    guards = [StepGuard(), FiniteParameterGuard(), DivergenceRecovery(snapshot_every=2, raise_after=1, raise_by=4.0)]
    faults = [] if fault is None else [FaultInjector(fault, NAN, 6)]
    trainer = fit(estimator, [*faults, *guards, recorder], datamodule=data, max_epochs=6, limit_val_batches=1.0)
    return estimator, recorder, float(trainer.callback_metrics["val/rmse_mv"])


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("fault", ["input", "target", "parameter"])
def test_one_fault_costs_one_step(recordings, sampling, fault):
    estimator, seen, rmse = train(recordings, sampling, fault)
    kinds = [event.kind for event in seen.events if event.kind in ("skip", "rollback")]
    assert kinds == (["skip", "rollback"] if fault == "parameter" else ["skip"])
    (skip,) = seen.of("skip")
    if fault != "parameter":
        name = "inputs" if fault == "input" else "target"
        assert f"non-finite values in {name} of batch" in skip.reason
        (place,) = skip.values["recordings"]
        assert place["recording"].startswith(tuple("abcd"))
    assert all(torch.isfinite(tensor).all() for tensor in estimator.state_dict().values())
    assert all(torch.isfinite(tensor).all() for tensor in estimator._carried["train"] or ())
    assert rmse < 1.1 * train(recordings, sampling)[2]
