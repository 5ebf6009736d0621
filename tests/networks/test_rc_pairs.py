"""RC pairs: equality with the simulated circuit, and use as features of an estimator."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from vestim_pl.data import StreamSampling, VoltageDataModule
from vestim_pl.deploy.streaming import StreamingEstimator
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.networks import RCPairs

FEATURES = ["SOC", "Current", "Temp"]
STEPS, COLD_FACTOR = [2.0, 50.0, 500.0], 0.05


def make_inputs(lanes: int = 2, steps: int = 700, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    current = torch.randn(lanes, steps, generator=generator) * 4 - 1
    temperature = torch.linspace(-20, 45, steps).expand(lanes, steps)
    return torch.stack([torch.rand(lanes, steps, generator=generator), current, temperature], dim=-1)


def circuit(inputs: np.ndarray) -> np.ndarray:
    """Solve the differential equation of each pair step by step."""
    voltage, voltages = np.zeros((len(inputs), len(STEPS))), []
    capacity = np.array(STEPS)  # 1 ohm at 25 degC
    for step in range(inputs.shape[1]):
        current, temperature = inputs[:, step, 1:2], inputs[:, step, 2:3]
        resistance = np.exp(COLD_FACTOR * (25 - temperature))
        settled = resistance * current
        voltage = settled + (voltage - settled) * np.exp(-1 / (resistance * capacity))
        voltages.append(voltage)
    return np.stack(voltages, axis=1)


def make_estimator(members: int = 1) -> VoltageEstimator:
    torch.manual_seed(1)
    pairs = RCPairs(FEATURES, STEPS, COLD_FACTOR)
    estimator = VoltageEstimator(
        FEATURES,
        {"name": "LSTM", "hidden_sizes": [6], "members": members},
        rc_pairs={"steps": STEPS, "cold_factor": COLD_FACTOR},
    )
    rows = pairs(make_inputs(), pairs.zero_state(2))[0].flatten(0, 1)
    estimator.scaler.fit(rows, 3.7 + 0.2 * torch.randn(len(rows)))
    return estimator.eval()


def test_voltages_equal_those_of_the_circuit():
    inputs = make_inputs().double()
    pairs = RCPairs(FEATURES, STEPS, COLD_FACTOR)
    extended, state = pairs(inputs, pairs.zero_state(2, dtype=torch.float64))
    assert torch.equal(extended[..., :3], inputs)
    np.testing.assert_allclose(extended[..., 3:].numpy(), circuit(inputs.numpy()), rtol=1e-5, atol=1e-5)
    assert torch.equal(state, extended[:, -1, 3:])


def test_voltages_are_accurate_over_a_long_recording_in_single_precision():
    inputs = make_inputs(1, 20_000)
    pairs = RCPairs(FEATURES, STEPS, COLD_FACTOR)
    found = pairs(inputs, pairs.zero_state(1))[0][..., 3:]
    np.testing.assert_allclose(found.numpy(), circuit(inputs.double().numpy()), rtol=0, atol=2e-4)


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 7, 128, 400])
@pytest.mark.parametrize("members", [1, 2])
def test_chunks_equal_one_pass(chunk, members):
    estimator, inputs = make_estimator(members), make_inputs(seed=3)
    expected, _ = estimator(inputs)
    parts, state = [], None
    for part in inputs.split(chunk, dim=1):
        volts, state = estimator(part, state)
        parts.append(volts)
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=0, atol=2e-6)


@torch.no_grad()
def test_sample_by_sample_equals_offline_and_a_reset_cell_is_at_rest():
    estimator, inputs = make_estimator(2), make_inputs(1, 80)
    stream = StreamingEstimator(estimator)
    stream.run(inputs.flip(1))
    stream.reset()
    volts = [stream.step(soc=soc, current=current, temperature=degc) for soc, current, degc in inputs[0].tolist()]
    assert volts == pytest.approx(estimator(inputs)[0][0].tolist(), abs=2e-6)


@torch.no_grad()
def test_voltages_in_the_inputs_are_not_computed_again():
    estimator, inputs = make_estimator(), make_inputs()
    assert estimator.rc_pairs is not None
    extended, _ = estimator.rc_pairs(inputs, torch.zeros(2, 3))
    expected, after = estimator(inputs)
    volts, state = estimator(extended)
    assert torch.equal(volts, expected)
    assert all(torch.equal(one, other) for one, other in zip(state, after, strict=True))


def test_rows_of_a_data_module_have_them_from_the_recordings_start_in_every_storage(tmp_path):
    module = VoltageDataModule(sampling=StreamSampling(), rc_pairs=STEPS, cold_factor=COLD_FACTOR, splits=["val"])
    mapped = VoltageDataModule(
        sampling=StreamSampling(), rc_pairs=STEPS, cold_factor=COLD_FACTOR, splits=["val"],
        storage="mapped", cache=tmp_path,
    )  # fmt: skip
    table = module.table("val")
    assert torch.equal(mapped.table("val").inputs, table.inputs)
    for first, last in zip(table.borders[:-1], table.borders[1:], strict=True):
        rows = table.inputs[first:last]
        np.testing.assert_allclose(rows[None, :, 3:], circuit(rows[None].double().numpy()), rtol=0, atol=1e-3)
    other = VoltageDataModule(splits=["val"], storage="mapped", cache=tmp_path)
    assert other.table("val").inputs.shape[1] == 3


def test_a_test_of_the_trainer_is_what_a_deployed_estimator_gives(tmp_path):
    estimator = make_estimator()
    module = VoltageDataModule(
        sampling=StreamSampling(), rc_pairs=STEPS, cold_factor=COLD_FACTOR, splits=["val", "test"]
    )
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    found = trainer.test(estimator, datamodule=module, verbose=False)[0]["test/rmse_mv"]
    table, squares = module.table("test"), []
    for first, last in zip(table.borders[:-1], table.borders[1:], strict=True):
        volts = StreamingEstimator(estimator).run(table.inputs[first:last, :3])
        squares.append((volts - table.target[first:last])[50:].square())
    assert found == pytest.approx(1000 * float(torch.cat(squares).mean().sqrt()), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": [0.5]}, "data.rc_pairs"),
        ({"steps": [5], "cold_factor": -1.0}, "data.cold_factor"),
        ({"steps": [5], "current": "I [A]"}, "data.columns.current: 'I [A]' is not among data.features"),
    ],
)
def test_bad_option_is_refused_in_one_line(options, message):
    with pytest.raises(ConfigurationError) as error:
        RCPairs(FEATURES, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
