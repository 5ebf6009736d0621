"""Where streams and windows must be the same: one lane and nothing truncated."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch.nn import functional

from vestim_pl.data import RecordingTable, StreamBatchSampler, StreamDataset, WindowDataset
from vestim_pl.estimator import VoltageEstimator

ROWS = 60
NETWORKS = ["LSTM", "GRU", "LSTM_EMA", "LSTM_LPF"]


@pytest.fixture
def table() -> RecordingTable:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(ROWS, 3, generator=generator)
    target = 3.7 + 0.1 * torch.randn(ROWS, generator=generator).cumsum(0) / ROWS**0.5
    return RecordingTable.of(["us06"], [inputs], [target])


def make_estimator(name: str, table: RecordingTable) -> VoltageEstimator:
    torch.manual_seed(0)
    estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": name, "hidden_sizes": [5, 4]})
    estimator.scaler.fit(table.inputs, table.target)
    estimator.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    return estimator


def gradients(estimator: VoltageEstimator, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    estimator.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in estimator.named_parameters()}


def stream_batches(table: RecordingTable, chunk: int) -> list:
    sampler = StreamBatchSampler([ROWS], chunk, lanes=1, burn_in=0, shuffle=False)
    return [StreamDataset(table)[step] for step in sampler]


@pytest.mark.parametrize("name", NETWORKS)
def test_one_lane_without_truncation_is_one_pass(table, name):
    estimator = make_estimator(name, table)
    [batch] = stream_batches(table, ROWS)
    loss = estimator.training_step(batch, 0)
    found = gradients(estimator, loss)

    scaled, _ = estimator.network(estimator.scaler.scale_inputs(table.inputs[None]))
    expected_loss = functional.mse_loss(scaled[0], estimator.scaler.scale_target(table.target))
    expected = gradients(estimator, expected_loss)
    assert torch.allclose(loss, expected_loss, rtol=1e-5)
    for parameter, gradient in expected.items():
        assert gradient.any(), parameter
        assert torch.allclose(found[parameter], gradient, rtol=1e-4, atol=1e-6), parameter


@pytest.mark.parametrize("name", NETWORKS)
def test_a_window_as_long_as_the_recording_is_a_stream_scored_at_its_last_row(table, name):
    estimator = make_estimator(name, table)
    window = WindowDataset(table, lookback=ROWS).__getitems__([0])
    from_window = estimator.training_step(window, 0)
    expected = gradients(estimator, from_window)

    [batch] = stream_batches(table, ROWS)
    last = torch.zeros_like(batch.weight)
    last[:, -1] = 1.0
    loss = estimator.training_step(batch._replace(weight=last), 0)
    found = gradients(estimator, loss)
    assert torch.equal(loss, from_window)
    assert all(torch.equal(found[parameter], gradient) for parameter, gradient in expected.items())


@pytest.mark.parametrize("chunk", [7, 20])
def test_truncation_changes_the_gradient_and_not_the_loss(table, chunk):
    """The loss of the chunks adds up to that of one pass; the gradient does not, as the state is detached between."""
    estimator = make_estimator("LSTM", table)
    [whole] = stream_batches(table, ROWS)
    expected_loss = estimator.training_step(whole, 0)
    expected = gradients(estimator, expected_loss)

    estimator.zero_grad()
    estimator._carried.clear()
    total = torch.zeros(())
    for batch in stream_batches(table, chunk):
        share = estimator.training_step(batch, 0) * batch.weight.sum() / ROWS
        share.backward()
        total += share.detach()
    assert torch.allclose(total, expected_loss, rtol=1e-5)
    name = next(parameter for parameter in expected if "weight_hh" in parameter)
    truncated = dict(estimator.named_parameters())[name].grad
    assert not torch.allclose(truncated, expected[name], rtol=1e-2)
