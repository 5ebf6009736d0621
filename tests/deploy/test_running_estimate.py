"""RunningEstimate: chunks of any size, streams and windows, with and without RC pairs."""

import pytest
import torch

from vestim_pl.data.training_data import Evaluation
from vestim_pl.deploy.running_estimate import RunningEstimate
from vestim_pl.estimator import VoltageEstimator

FEATURES = ["SOC", "Current", "Temp"]
LOOKBACK = 12
PAIRS = {"steps": [5, 50], "cold_factor": 0.04, "current": "Current", "temperature": "Temp"}


def make(name="LSTM", pairs=None, **options):
    torch.manual_seed(3)
    estimator = VoltageEstimator(FEATURES, {"name": name, "hidden_sizes": [8], **options}, rc_pairs=pairs).eval()
    width = 3 + (len(pairs["steps"]) if pairs else 0)
    estimator.scaler.fit(torch.randn(200, width), 3.7 + 0.2 * torch.randn(200))
    inputs = torch.randn(70, 3) * torch.tensor([0.3, 3.0, 5.0]) + torch.tensor([0.5, 0.0, 20.0])
    return estimator, inputs


def in_chunks(estimator, evaluation, inputs, size):
    running = RunningEstimate(estimator, evaluation)
    return torch.cat([running.feed(part) for part in inputs.split(size)])


@pytest.mark.parametrize("pairs", [None, PAIRS])
@pytest.mark.parametrize("mode", ["streams", "windows"])
@pytest.mark.parametrize("horizon", [0, 2])
@pytest.mark.parametrize("size", [1, 7, 13])
def test_chunks_of_any_size_give_the_same(mode, horizon, size, pairs):
    estimator, inputs = make(pairs=pairs)
    evaluation = Evaluation(mode, LOOKBACK, horizon)
    whole = RunningEstimate(estimator, evaluation).feed(inputs)
    torch.testing.assert_close(in_chunks(estimator, evaluation, inputs, size), whole, rtol=0, atol=2e-6, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "options"), [("LSTM", {}), ("FNN", {"history": 5}), ("Transformer", {"lookback": 9, "heads": 2})]
)
def test_a_stream_is_the_whole_recording_at_once(name, options):
    estimator, inputs = make(name, **options)
    with torch.no_grad():
        expected = estimator(inputs[None])[0][0]
    torch.testing.assert_close(RunningEstimate(estimator, Evaluation()).feed(inputs), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("pairs", [None, PAIRS])
@torch.no_grad()
def test_windows_know_only_their_rows_and_rc_pairs_all_before(pairs):
    estimator, inputs = make(pairs=pairs)
    rows = inputs if pairs is None else estimator.rc_pairs(inputs[None], estimator.rc_pairs.zero_state(1))[0][0]
    expected = [estimator(rows[None, max(0, end - LOOKBACK) : end])[0][0, -1] for end in range(1, len(rows) + 1)]
    found = RunningEstimate(estimator, Evaluation("windows", LOOKBACK)).feed(inputs)
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=2e-6)


@pytest.mark.parametrize("mode", ["streams", "windows"])
def test_a_horizon_moves_the_estimates_to_the_rows_that_they_are_of(mode):
    estimator, inputs = make()
    now = RunningEstimate(estimator, Evaluation(mode, LOOKBACK)).feed(inputs)
    ahead = RunningEstimate(estimator, Evaluation(mode, LOOKBACK, horizon=2)).feed(inputs)
    assert ahead[:2].isnan().all()
    torch.testing.assert_close(ahead[2:], now[:-2], rtol=0, atol=2e-6)


def test_no_rows_are_no_estimates():
    estimator, inputs = make()
    assert len(RunningEstimate(estimator, Evaluation("windows", LOOKBACK)).feed(inputs[:0])) == 0
