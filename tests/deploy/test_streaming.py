"""StreamingEstimator: sample by sample equals offline, for every network; it can be saved, and changes nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import Trainer

from vestim_pl.deploy.streaming import StreamingEstimator
from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.networks import NETWORKS

FEATURES = ["SOC", "Current", "Temp"]
NAMES = sorted(NETWORKS)
MICROVOLT = 1e-6
OPTIONS = {"FNN": {"history": 5}, "Transformer": {"heads": 2, "lookback": 9}}


def make_estimator(name: str = "LSTM", features: list[str] | None = None, **options) -> VoltageEstimator:
    torch.manual_seed(1)
    sizes = {"hidden_sizes": [12, 6], "layer_norm": True, "dropout": 0.3} | OPTIONS.get(name, {})
    estimator = VoltageEstimator(features or FEATURES, {"name": name, **sizes, **options})
    count = len(features or FEATURES)
    inputs = torch.randn(500, count) * torch.tensor([0.3, 4.0, 15.0] + [1.0] * count)[:count] + 0.5
    estimator.scaler.fit(inputs, 3.7 + 0.2 * torch.randn(500))
    return estimator


def make_inputs(cells: int = 1, steps: int = 60, features: int = 3) -> torch.Tensor:
    scale = torch.tensor([0.3, 4.0, 15.0] + [1.0] * features)[:features]
    return torch.randn(cells, steps, features, generator=torch.Generator().manual_seed(cells)) * scale


@torch.no_grad()
def offline(estimator: VoltageEstimator, inputs: torch.Tensor) -> torch.Tensor:
    training = estimator.training
    volts, _ = estimator.eval()(inputs)
    estimator.train(training)
    return volts


def by_name(row: torch.Tensor) -> dict:
    return {"soc": row[..., 0], "current": row[..., 1], "temperature": row[..., 2]}


@pytest.mark.parametrize("cells", [1, 3, 20])
@pytest.mark.parametrize("name", NAMES)
def test_sample_by_sample_equals_offline(name, cells):
    estimator = make_estimator(name)
    inputs = make_inputs(cells)
    stream = StreamingEstimator(estimator, cells)
    volts = torch.stack([stream.step(**by_name(inputs[:, step])) for step in range(inputs.shape[1])], dim=1)
    torch.testing.assert_close(volts, offline(estimator, inputs), rtol=0, atol=2 * MICROVOLT)


@pytest.mark.parametrize("name", NAMES)
def test_one_cell_by_numbers_equals_offline(name):
    estimator = make_estimator(name)
    inputs = make_inputs()
    stream = StreamingEstimator(estimator)
    volts = [stream.step(soc=soc, current=amperes, temperature=degc) for soc, amperes, degc in inputs[0].tolist()]
    assert all(type(value) is float for value in volts)
    assert volts == pytest.approx(offline(estimator, inputs)[0].tolist(), abs=2 * MICROVOLT)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_resumes_elsewhere_with_the_same_result(tmp_path, name):
    estimator = make_estimator(name)
    inputs = make_inputs(2)
    stream = StreamingEstimator(estimator, cells=2)
    stream.run(inputs[:, :25])
    torch.save(stream.state_dict(), tmp_path / "state.pt")
    expected = stream.run(inputs[:, 25:])

    other = StreamingEstimator(estimator, cells=2)
    other.run(inputs.flip(1))  # what it saw before is forgotten
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(other.run(inputs[:, 25:]), expected)
    torch.testing.assert_close(expected, offline(estimator, inputs)[:, 25:], rtol=0, atol=2 * MICROVOLT)


def test_a_saved_state_is_a_copy():
    stream = StreamingEstimator(make_estimator())
    stream.step(-1.0, 25.0, 0.5)
    saved = stream.state_dict()
    before = {name: tensor.clone() for name, tensor in saved.items()}
    stream.load_state_dict(saved)
    stream.step(-2.0, 25.0, 0.5)
    stream.reset(0)
    assert all(torch.equal(saved[name], before[name]) for name in before)

    stream.load_state_dict(saved)
    saved["state_0"].fill_(float("nan"))
    assert torch.isfinite(stream.state_dict()["state_0"]).all()


def test_a_state_that_does_not_fit_is_refused():
    stream = StreamingEstimator(make_estimator(), cells=2)
    for other in (StreamingEstimator(make_estimator(), cells=3), StreamingEstimator(make_estimator("GRU"), cells=2)):
        with pytest.raises(DataError, match=r"^state: .*load it with the same network and number of cells"):
            stream.load_state_dict(other.state_dict())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chosen", [1, [1], np.array([1]), torch.tensor([False, True, False])])
def test_reset_restarts_the_chosen_cell_and_leaves_the_others(name, chosen):
    estimator = make_estimator(name)
    inputs = make_inputs(3)
    stream = StreamingEstimator(estimator, cells=3)
    stream.run(inputs[:, :30])
    stream.reset(chosen)
    volts = stream.run(inputs[:, 30:])
    expected = offline(estimator, inputs)[:, 30:]
    expected[1] = offline(estimator, inputs[1:2, 30:])[0]
    torch.testing.assert_close(volts, expected, rtol=0, atol=2 * MICROVOLT)

    stream.reset()
    torch.testing.assert_close(stream.run(inputs), offline(estimator, inputs), rtol=0, atol=2 * MICROVOLT)


@pytest.mark.parametrize("wrong", [3, [-1], torch.tensor([True, False])])
def test_reset_of_a_cell_that_is_not_there_is_refused(wrong):
    with pytest.raises(DataError, match=r"^reset: "):
        StreamingEstimator(make_estimator(), cells=3).reset(wrong)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk", [1, 7, 60, 16_384])
def test_chunks_of_a_run_change_nothing(name, chunk):
    estimator = make_estimator(name)
    inputs = make_inputs(2)
    volts = StreamingEstimator(estimator, cells=2).run(inputs, chunk=chunk)
    torch.testing.assert_close(volts, offline(estimator, inputs), rtol=0, atol=2 * MICROVOLT)


def test_no_call_is_longer_than_a_recurrent_kernel_can_take(monkeypatch):
    stream = StreamingEstimator(make_estimator("FNN"))
    lengths = []
    forward = VoltageEstimator.forward
    monkeypatch.setattr(
        VoltageEstimator, "forward", lambda self, x, state=None: lengths.append(x.shape[1]) or forward(self, x, state)
    )
    assert stream.run(make_inputs(steps=70_000)[0]).shape == (70_000,)
    assert sum(lengths) == 70_000
    assert max(lengths) < 65_535
    with pytest.raises(ConfigurationError, match=r"^chunk: 65536 is not between 1 and 65,535"):
        stream.run(make_inputs(), chunk=65_536)


def test_run_and_step_go_on_from_one_another_and_keep_the_kind():
    estimator = make_estimator("LSTM_EMA")
    inputs = make_inputs()
    stream = StreamingEstimator(estimator)
    first = stream.run(inputs[0, :30].numpy())
    assert isinstance(first, np.ndarray)
    next_one = stream.step(**{name: float(value) for name, value in by_name(inputs[0, 30]).items()})
    rest = stream.run(inputs[0, 31:])
    volts = torch.cat([torch.from_numpy(first), torch.tensor([next_one]), rest])
    torch.testing.assert_close(volts, offline(estimator, inputs)[0], rtol=0, atol=2 * MICROVOLT)


@pytest.mark.filterwarnings("error")
def test_run_takes_an_array_that_may_not_be_written_to_as_pandas_hands_it_out():
    inputs = make_inputs()[0].numpy()
    expected = StreamingEstimator(make_estimator()).run(inputs)
    inputs.setflags(write=False)
    assert np.array_equal(StreamingEstimator(make_estimator()).run(inputs), expected)


@pytest.mark.parametrize("shape", [(60, 2), (2, 60, 3), (3,)])
def test_run_refuses_another_shape(shape):
    with pytest.raises(DataError, match=r"^inputs: shape \[.*\] is not \[1, L, 3\].*SOC, Current, Temp"):
        StreamingEstimator(make_estimator()).run(torch.zeros(shape))


@pytest.mark.parametrize("name", NAMES)
def test_a_measurement_that_is_not_finite_never_reaches_the_state(name):
    estimator = make_estimator(name)
    inputs = make_inputs()
    stream = StreamingEstimator(estimator)
    stream.run(inputs[0, :30])
    with pytest.raises(DataError, match=r"^Current: nan is non-finite"):
        stream.step(current=float("nan"), temperature=25.0, soc=0.5)
    bad = inputs[0, 30:].clone()
    bad[3, 2] = float("inf")
    with pytest.raises(DataError, match=r"^inputs: Temp of cell 0 at step 3 is inf"):
        stream.run(bad)
    volts = stream.run(inputs[0, 30:])
    torch.testing.assert_close(volts, offline(estimator, inputs)[0, 30:], rtol=0, atol=2 * MICROVOLT)


def test_features_are_found_by_their_names_in_any_order():
    estimator = make_estimator(features=["I [A]", "pressure", "Ts", "z"])
    inputs = make_inputs(features=4)
    stream = StreamingEstimator(estimator, current="I [A]", temperature="Ts", soc="z")
    amperes, pressure, degc, soc = inputs[0, 0].tolist()
    volts = stream.step(amperes, degc, soc, pressure=pressure)
    assert volts == pytest.approx(offline(estimator, inputs)[0, 0].item(), abs=2 * MICROVOLT)
    stream.reset()
    also = stream.step(temperature=degc, soc=soc, **{"pressure": pressure, "I [A]": amperes})
    assert also == volts


@pytest.mark.parametrize(
    ("features", "given", "message"),
    [
        (FEATURES, {"current": 1.0, "soc": 0.5}, "step: feature 'Temp' is missing.*SOC, Current, Temp.*temperature="),
        (
            FEATURES,
            {"current": 1.0, "soc": 0.5, "temperature": 2.0, "Tmep": 3.0},
            "no feature 'Tmep'.*did you mean Temp",
        ),
        (["Current"], {"current": 1.0, "soc": 0.5}, "no feature 'SOC', it has Current; leave soc out, or construct"),
        (["Current", "age"], {"current": 1.0}, "feature 'age' is missing.*pass age="),
        (["Current"], {"current": 1.0, "Current": 1.0}, "feature 'Current' is given twice"),
    ],
)
def test_a_missing_or_unknown_feature_is_one_line(features, given, message):
    stream = StreamingEstimator(make_estimator(features=features))
    with pytest.raises(ConfigurationError, match=message) as caught:
        stream.step(**given)
    assert "\n" not in str(caught.value)


def test_no_cells_are_refused():
    with pytest.raises(ConfigurationError, match=r"^cells: 0 is not positive"):
        StreamingEstimator(make_estimator(), cells=0)


def test_the_estimator_in_training_is_left_alone():
    estimator = make_estimator().train()
    before = {name: tensor.clone() for name, tensor in estimator.state_dict().items()}
    drawn = torch.get_rng_state()
    stream = StreamingEstimator(estimator)
    first = stream.step(-1.0, 25.0, 0.5)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert estimator.training
    assert all(parameter.requires_grad for parameter in estimator.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in estimator.state_dict().items())
    with torch.no_grad():
        for parameter in estimator.parameters():
            parameter.zero_()
    stream.reset()
    assert stream.step(-1.0, 25.0, 0.5) == first  # nor does training it further change the stream


def test_results_can_be_used_further():
    stream = StreamingEstimator(make_estimator(), cells=2)
    volts = stream.step(torch.ones(2), torch.ones(2), torch.ones(2))
    volts += 1.0
    more = stream.run(make_inputs(2))
    more += 1.0
    assert not volts.requires_grad
    assert not volts.is_inference()
    assert not more.is_inference()


@pytest.fixture(params=NAMES)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[VoltageEstimator, Path]:
    estimator = make_estimator(request.param)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, barebones=False
    )
    trainer.strategy.connect(estimator)
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    return estimator, tmp_path / "some.ckpt"


def test_from_a_checkpoint_equals_the_estimator_on_a_measured_drive_cycle(checkpoint, lg_hg2):
    estimator, path = checkpoint
    frame = pd.read_parquet(next((lg_hg2 / "test").glob("*udds_25degC*")))
    inputs = torch.tensor(frame[FEATURES].to_numpy(), dtype=torch.float32)
    estimator.scaler.fit(inputs, torch.tensor(frame["Voltage"].to_numpy(), dtype=torch.float32))
    stream = StreamingEstimator.from_checkpoint(path)
    stream._estimator.scaler.load_state_dict(estimator.scaler.state_dict())
    expected = offline(estimator, inputs[None])[0]
    torch.testing.assert_close(stream.run(inputs, chunk=1000), expected, rtol=0, atol=5 * MICROVOLT)
    stream.reset()
    volts = [stream.step(amperes, degc, soc) for soc, amperes, degc in inputs[:500].tolist()]
    assert volts == pytest.approx(expected[:500].tolist(), abs=5 * MICROVOLT)


def test_from_a_checkpoint_equals_the_estimator(checkpoint):
    estimator, path = checkpoint
    inputs = make_inputs(2)
    stream = StreamingEstimator.from_checkpoint(str(path), cells=2, device="cpu", soc="SOC")
    torch.testing.assert_close(stream.run(inputs), offline(estimator, inputs), rtol=0, atol=2 * MICROVOLT)


def test_samples_at_another_rate_than_the_training_are_refused():
    estimator = VoltageEstimator(FEATURES, {"name": "LSTM", "hidden_sizes": [4]}, preparation={"interval": 1.0})
    assert StreamingEstimator(estimator).interval == 1.0
    assert StreamingEstimator(estimator, interval=1.01).interval == 1.0
    with pytest.raises(ConfigurationError, match=r"interval: samples every 0\.1 s, but the estimator .* 1 s"):
        StreamingEstimator(estimator, interval=0.1)
    old = make_estimator()
    assert StreamingEstimator(old).interval is None
    assert StreamingEstimator(old, interval=0.1).interval == 0.1
