"""Streams equal windows with one lane and no truncation."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch.nn import functional

from vestim_pl.data import RecordingTable, StreamBatchSampler, StreamDataset, StreamSampling, WindowDataset
from vestim_pl.data.batches import evaluation_batches
from vestim_pl.estimator import VoltageEstimator

ROWS = 60
NETWORKS = ["LSTM", "GRU", "LSTM_EMA", "LSTM_LPF", "Transformer"]
SPECS = {"Transformer": {"hidden_sizes": [4, 6], "heads": 2, "lookback": 11}}


@pytest.fixture
def table() -> RecordingTable:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(ROWS, 3, generator=generator)
    target = 3.7 + 0.1 * torch.randn(ROWS, generator=generator).cumsum(0) / ROWS**0.5
    return RecordingTable.of(["us06"], [inputs], [target])


def make_estimator(name: str, table: RecordingTable) -> VoltageEstimator:
    torch.manual_seed(0)
    estimator = VoltageEstimator(
        ["SOC", "Current", "Temp"], {"name": name, **SPECS.get(name, {"hidden_sizes": [5, 4]})}
    )
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
    assert torch.allclose(loss, from_window, rtol=1e-6)  # a head over one step and over all may round differently
    for parameter, gradient in expected.items():
        assert torch.allclose(found[parameter], gradient, rtol=1e-4, atol=1e-6), parameter


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


def evaluated(lengths: list[int], chunk: int, lanes: int, name: str) -> dict[int, float]:
    """Estimated voltage of every scored row of a streamed evaluation."""
    generator = torch.Generator().manual_seed(4)
    inputs = [torch.randn(rows, 3, generator=generator) for rows in lengths]
    table = RecordingTable.of(list(map(str, lengths)), inputs, [3.7 + 0.1 * rows[:, 0] for rows in inputs])
    estimator = make_estimator(name, table).eval()
    sampling = StreamSampling(burn_in=3, evaluation_chunk=chunk, evaluation_lanes=lanes)
    data, sampler = evaluation_batches(table, sampling)
    estimator.on_test_epoch_start()
    volts = {}
    with torch.no_grad():
        for index, step in enumerate(sampler):
            batch = data[step]
            estimated = estimator.test_step(batch, index)
            rows = batch.first_row[:, None] + torch.arange(estimated.shape[1])
            scored = batch.weight > 0
            volts |= dict(zip(rows[scored].tolist(), estimated[scored].tolist(), strict=True))
    return volts


@pytest.mark.parametrize("name", NETWORKS)
def test_neither_chunks_nor_lanes_change_a_streamed_evaluation(name):
    lengths = [50, 17, 31]
    whole = evaluated(lengths, chunk=50, lanes=1, name=name)
    assert len(whole) == sum(lengths) - 3 * len(lengths)
    for chunk, lanes in ((1, 3), (7, 2), (16, 1), (500, 16)):
        found = evaluated(lengths, chunk, lanes, name)
        assert found.keys() == whole.keys()
        assert all(found[row] == pytest.approx(volts, abs=1e-6) for row, volts in whole.items())
