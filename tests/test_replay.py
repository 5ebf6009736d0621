import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, fit
from vestim_pl.callbacks import CrashBundle
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.replay import NOT_REPRODUCED, main

FEATURES = ["SOC", "Current", "Temp"]


class NanInput(Callback):
    def __init__(self, lane, step, feature):
        self.place = lane, step, feature

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 2:
            batch.inputs[self.place] = float("nan")


def streams(count=5, lanes=4, steps=10):
    for number in range(count):
        batch = SequenceBatch.of(torch.randn(lanes, steps, 3), 3.7 + 0.1 * torch.randn(lanes, steps))
        yield batch._replace(fresh=torch.full((lanes,), number == 0))


def bundle_of_our_estimator(kind="LSTM", precision="32-true"):
    estimator = VoltageEstimator(FEATURES, {"name": kind, "hidden_sizes": [8, 6], "dropout": 0.2})
    estimator.scaler.fit(torch.randn(100, 3), 3.7 + 0.1 * torch.randn(100))
    trainer = Trainer(
        max_steps=4, callbacks=[NanInput(1, 6, 2), CrashBundle("bundles", max_bundles=1)], logger=False,
        accelerator="cpu", precision=precision, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(estimator, DataLoader(list(streams()), batch_size=None))
    return str(next(Path("bundles").glob("*.pt")))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "LSTM_EMA"])
def test_our_estimator_in_streams_needs_no_trust(kind, precision, capsys):
    assert main([bundle_of_our_estimator(kind, precision), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["notes"] == []
    batch, forward = output["replayed"]["batch"]["frame"], output["replayed"]["forward"]["frame"]
    assert (batch["name"], batch["range"]["index"]) == ("inputs", [1, 6, 2])
    assert forward["range"]["value"] == "nan"
    assert output["cause"] == "batch"
    step = output["replayed"]["recurrent"]["frame"]
    assert (step["name"], step["tensor"], step["time"]) == ("network.layers.0.kernel", "input", 6)
    assert step["range"]["index"] == [1, 2]
    last = output["replayed"]["recurrent"]["history"][-1]
    assert (last["tensor"], last["time"], last["range"]["non_finite"]) == ("hidden", 5, 0)


def test_command_prints_the_story():
    path = bundle_of_our_estimator()
    command = [sys.executable, "-m", "vestim_pl.replay", path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path.cwd(), check=False)
    assert done.returncode == 0, done.stderr
    assert "recorded: epoch 0, batch 2: the loss is nan" in done.stdout
    assert "field inputs of the batch holds nan at [1, 6, 2]" in done.stdout
    assert "first recurrent layer affected: module network.layers.0.kernel, time step 6: input is nan" in done.stdout
    assert "forward network.layers.0.kernel, time step 5, hidden:" in done.stdout
    assert "<-- first" in done.stdout
    assert done.stderr == ""


def test_fault_from_outside_is_reported_as_not_reproduced(capsys):
    injector = FaultInjector("gradient", float("nan"), at=1)
    fit(ForeignRecurrent(), [injector, CrashBundle("bundles")], max_steps=2)
    assert main(["bundles/epoch_0000-batch_000001.pt", "--trust"]) == NOT_REPRODUCED
    out = capsys.readouterr().out
    assert "the gradient of parameter cell.weight is nan at [0, 0]; everything before it is finite" in out
    assert "not reproduced" in out


def test_untrusted_class_is_one_line(capsys):
    injector = FaultInjector("input", float("nan"), at=1)
    fit(ForeignRecurrent(), [injector, CrashBundle("bundles")], max_steps=2)
    assert main(["bundles/epoch_0000-batch_000001.pt"]) == 1
    assert "--trust" in capsys.readouterr().err


def test_number_of_frames_is_checked(capsys):
    assert main([bundle_of_our_estimator(), "--frames", "-1"]) == 1
    err = capsys.readouterr().err
    assert err == "error: --frames: -1 is not positive; give 1 or more\n"


def test_norm_that_overflows_over_finite_gradients_is_reported(capsys):
    class Huge(Callback):
        def on_after_backward(self, trainer, pl_module):
            for parameter in pl_module.parameters():
                parameter.grad.fill_(3e38)

    fit(ForeignRecurrent(), [Huge(), CrashBundle("bundles", max_bundles=1)], max_steps=1)
    assert main(["bundles/epoch_0000-batch_000000.pt", "--trust"]) == NOT_REPRODUCED
    out = capsys.readouterr().out
    assert "the gradient norm is inf" in out
    assert "replayed: every number of the step is finite in the replay too" in out
