"""Prediction intervals: what they cover, how bands of temperature share, and how a checkpoint keeps them."""

import numpy as np
import pandas as pd
import pytest
import torch

from vestim_pl.data import VoltageDataModule
from vestim_pl.data.training_data import Evaluation
from vestim_pl.deploy.checkpoint import load_checkpoint
from vestim_pl.deploy.intervals import PredictionIntervals, calibrate, store_intervals
from vestim_pl.deploy.running_estimate import RunningEstimate
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator


def make_steps(blocks: dict[float, list[float]], rows: int = 60) -> pd.DataFrame:
    """One recording a temperature; each block of ``rows`` seconds has errors of one size [V]."""
    parts = []
    for temperature, sizes in blocks.items():
        error = np.repeat(sizes, rows)
        parts.append(
            pd.DataFrame(
                {
                    "recording": f"at {temperature}",
                    "time": np.arange(len(error), dtype=float),
                    "measured": 3.7,
                    "estimated": 3.7 + error,
                    "temperature": temperature,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_every_band_has_the_quantile_of_its_own_blocks():
    cold, warm = [0.001 * size for size in range(1, 20)], [0.0001 * size for size in range(1, 20)]
    intervals = calibrate(make_steps({-10.0: cold, 25.0: warm}), 0.9, feature=2, block_seconds=60)
    assert intervals.groups.tolist() == [0, 19, 0, 0, 19, 0, 0]
    inputs = np.array([[0.5, 0, -10.0], [0.5, 0, 25.0], [0.5, 0, 60.0]], np.float32)
    widths = intervals.half_widths(inputs)
    assert widths.tolist() == pytest.approx([0.018, 0.0018, 0.018]), "a band without blocks has the widest"


def test_rows_of_one_block_count_once():
    """Ten thousand rows in eight blocks are eight facts, too few for 90 %."""
    assert calibrate(make_steps({25.0: [0.01] * 8}, rows=1250), 0.9, feature=2, block_seconds=1250) is None
    assert calibrate(make_steps({25.0: [0.01] * 9}, rows=1250), 0.9, feature=2, block_seconds=1250) is not None


def test_bands_that_are_all_too_short_share_one_width():
    intervals = calibrate(make_steps({-10.0: [0.01] * 5, 25.0: [0.002] * 5}), 0.9, feature=2, block_seconds=60)
    assert (intervals.feature, intervals.half_width.tolist()) == (-1, pytest.approx([0.01]))
    assert intervals.half_widths(np.zeros((2, 3), np.float32)).tolist() == pytest.approx([0.01, 0.01])


@pytest.fixture(scope="module")
def demo_steps() -> pd.DataFrame:
    """Errors of an estimator on all validation and test recordings of the demo data."""
    torch.manual_seed(0)
    module = VoltageDataModule()
    module.setup()
    train = module.table("train")
    estimator = VoltageEstimator(module.features, {"name": "LSTM", "hidden_sizes": [8]})
    estimator.scaler.fit(train.inputs, train.target)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=0.02)
    first = torch.randint(0, train.rows - 100, (40, 64))
    for rows in first:  # a rough estimator will do: its errors are calibrated, whatever they are
        index = rows[:, None] + torch.arange(100)
        loss = (estimator(train.inputs[index])[0][:, 20:] - train.target[index][:, 20:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    parts = []
    for split in ("val", "test"):
        table = module.table(split)
        for name in table.names:
            rows = table.recording(name)
            estimated = RunningEstimate(estimator.eval(), Evaluation()).feed(table.inputs[rows])
            parts.append(
                pd.DataFrame(
                    {
                        "recording": f"{split}/{name}",
                        "time": table.time[rows],
                        "measured": table.target[rows],
                        "estimated": estimated,
                        "temperature": table.inputs[rows, 2],
                    }
                ).iloc[50:]
            )
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("feature", [-1, 2])
def test_on_exchangeable_blocks_of_the_demo_data_they_cover_what_they_promise(demo_steps, feature):
    """Blocks of 20 s, some 140 a band, divided at random into calibration and test, fifty times."""
    seconds = 20
    place = demo_steps.groupby("recording")["time"].transform(lambda time: (time - time.iloc[0]) // seconds)
    block = demo_steps.groupby(["recording", place]).ngroup().to_numpy()
    steps = demo_steps.assign(recording=block)  # each block for itself
    inputs = np.zeros((len(steps), 3), np.float32)
    inputs[:, 2] = steps["temperature"]
    error, covered = np.abs(steps["estimated"] - steps["measured"]).to_numpy(), []
    for seed in range(50):
        chosen = np.random.default_rng(seed).random(block.max() + 1) < 0.5
        calibrated = calibrate(steps[chosen[block]], 0.9, feature, block_seconds=1e6)
        inside = error <= calibrated.half_widths(inputs)
        covered.append(inside[~chosen[block]].mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)


@pytest.fixture
def checkpoint(tmp_path):
    estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [4]})
    content = {
        "state_dict": estimator.state_dict(),
        "hyper_parameters": dict(estimator.hparams),
        "global_step": 7,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.rand(3)}}}],
    }
    torch.save(content, tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


INTERVALS = PredictionIntervals(0.9, 2, torch.tensor([5.0]), torch.tensor([0.03, 0.01]), torch.tensor([20, 30]))


def test_a_checkpoint_keeps_them_and_everything_else_stays(checkpoint):
    before = load_checkpoint(checkpoint)
    assert PredictionIntervals.of(before) is None
    store_intervals(checkpoint, INTERVALS)
    after = load_checkpoint(checkpoint)
    found = PredictionIntervals.of(after)
    assert (found.coverage, found.feature, found.describe()) == (0.9, 2, INTERVALS.describe())
    assert all(torch.equal(after["state_dict"][name], weight) for name, weight in before["state_dict"].items())
    assert torch.equal(
        after["optimizer_states"][0]["state"][0]["exp_avg"], before["optimizer_states"][0]["state"][0]["exp_avg"]
    )
    assert set(after) - set(before) == {"prediction_intervals"}


@pytest.mark.parametrize(
    "damage",
    [
        {"half_width_v": torch.tensor([0.03, torch.nan])},
        {"half_width_v": torch.tensor([0.03])},
        {"half_width_v": torch.tensor([0.03, -0.01])},
        {"half_width_v": "wide"},
        {"borders": torch.tensor([5.0, 6.0])},
        {"coverage": torch.tensor(1.5)},
        {"coverage": None},
        {"feature": torch.tensor(-5)},
    ],
)
def test_damaged_ones_are_refused_in_one_line(damage):
    with pytest.raises(ConfigurationError, match="prediction intervals are damaged") as caught:
        PredictionIntervals.of({"prediction_intervals": INTERVALS.to_tensors() | damage})
    assert "\n" not in str(caught.value)
