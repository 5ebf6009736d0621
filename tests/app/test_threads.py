import copy
import json
import logging
from types import SimpleNamespace

import pytest
import torch

from vestim_pl.app import threads
from vestim_pl.app.threads import (
    choose_threads,
    decide_threads,
    recorded_threads,
    time_steps,
    trial_step,
    use_recorded_threads,
)
from vestim_pl.data import StreamSampling, WindowSampling
from vestim_pl.estimator import VoltageEstimator

SAMPLING = WindowSampling(lookback=30, batch_size=4)
MOST = 2


@pytest.fixture(autouse=True)
def restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def estimator() -> VoltageEstimator:
    torch.manual_seed(0)
    estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [8], "dropout": 0.5})
    estimator.scaler.fit(torch.randn(50, 3), 3.7 + 0.1 * torch.randn(50))
    return estimator


@pytest.fixture
def in_a_command(monkeypatch):
    """As in a command on two cores whose user has set nothing, where two threads would gain."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "HydraConfig", SimpleNamespace(initialized=lambda: True))
    monkeypatch.setattr(threads, "_threads_at_start", lambda: MOST)
    monkeypatch.setattr(threads, "time_steps", lambda step, few, more: (2.0, 1.0))
    torch.set_num_threads(1)


def a_trainer(device: str = "cpu", world_size: int = 1) -> SimpleNamespace:
    return SimpleNamespace(world_size=world_size, strategy=SimpleNamespace(root_device=torch.device(device)))


class TestDecision:
    @pytest.mark.parametrize(
        ("most", "speed", "chosen"),
        [
            (2, {1: 1.0, 2: 1.2}, 1),
            (2, {1: 1.0, 2: 1.4}, 2),
            (8, {1: 1.0, 2: 1.8, 4: 2.5, 8: 2.9}, 4),
            (8, {1: 1.0, 2: 0.9, 4: 4.0, 8: 8.0}, 1),
            (6, {1: 1.0, 2: 1.8, 4: 3.0, 6: 3.6}, 6),  # half as many again: 1.15 times is enough
            (1, {}, 1),
        ],
    )
    def test_doubles_while_that_gains(self, most, speed, chosen):
        assert decide_threads(most, lambda few, more: (1 / speed[few], 1 / speed[more]))[0] == chosen


class TestTrial:
    def test_times_the_step_on_both_numbers_of_threads(self, monkeypatch):
        seen: list[int] = []
        monkeypatch.setattr(torch, "set_num_threads", seen.append)
        few, more = time_steps(lambda: torch.ones(10).sum(), 1, 2)
        assert few > 0
        assert more > 0
        assert seen == [1, 2, 1, 2]

    def test_leaves_the_estimator_as_it_is(self, estimator):
        before = copy.deepcopy(estimator.state_dict())
        trial_step(estimator, SAMPLING)()
        assert all(parameter.grad is None for parameter in estimator.parameters())
        for name, value in estimator.state_dict().items():
            assert torch.equal(value, before[name]), name

    @pytest.mark.parametrize(
        ("sampling", "shape"),
        [(SAMPLING, (4, 30, 3)), (StreamSampling(lookback=400, lanes=5), (5, 32, 3))],
    )
    def test_has_the_shape_of_a_batch_but_a_short_lookback(self, estimator, sampling, shape, monkeypatch):
        shapes = []
        forward = VoltageEstimator.forward

        def look(self, inputs, state=None):
            shapes.append(tuple(inputs.shape))
            return forward(self, inputs, state)

        monkeypatch.setattr(VoltageEstimator, "forward", look)
        trial_step(estimator, sampling)()
        assert shapes == [shape]


class TestChoice:
    def test_sets_and_logs_the_number_and_draws_no_random_number(self, in_a_command, estimator, caplog):
        state = torch.get_rng_state()
        with caplog.at_level(logging.INFO, "vestim_pl"):
            choose_threads(a_trainer(), estimator, SAMPLING, None)
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
        assert caplog.messages == [
            "computing on 2 of 2 threads, because a trial step takes 2e+03 ms on 1 and 1e+03 ms on 2; OMP_NUM_THREADS=1"
            " changes that"
        ]

    @pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
    def test_what_the_user_has_set_wins(self, in_a_command, estimator, monkeypatch, name):
        monkeypatch.setenv(name, "1")
        choose_threads(a_trainer(), estimator, SAMPLING, None)
        assert torch.get_num_threads() == 1

    def test_a_program_that_calls_train_keeps_its_number(self, in_a_command, estimator, monkeypatch):
        monkeypatch.setattr(threads, "HydraConfig", SimpleNamespace(initialized=lambda: False))
        choose_threads(a_trainer(), estimator, SAMPLING, None)
        assert torch.get_num_threads() == 1

    @pytest.mark.parametrize("trainer", [a_trainer(device="cuda"), a_trainer(world_size=2)])
    def test_measures_nothing_on_other_devices_and_with_several_processes(
        self, in_a_command, estimator, trainer, monkeypatch
    ):
        monkeypatch.setattr(threads, "time_steps", lambda step, few, more: pytest.fail("measured"))
        choose_threads(trainer, estimator, SAMPLING, None)

    def test_a_resumed_run_keeps_the_number_in_its_folder(self, in_a_command, estimator, tmp_path, caplog):
        (tmp_path / "provenance.json").write_text(json.dumps({"machine": {"torch_threads": 1}}))
        with caplog.at_level(logging.INFO, "vestim_pl"):
            choose_threads(a_trainer(), estimator, SAMPLING, str(tmp_path / "checkpoints" / "last.ckpt"))
        assert torch.get_num_threads() == 1
        assert "1 of 2 threads, as in the run that wrote the checkpoint" in caplog.text


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"machine": null}', '{"machine": {"torch_threads": "2"}}'])
def test_an_unreadable_record_is_none(tmp_path, text):
    if text is not None:
        (tmp_path / "provenance.json").write_text(text)
    assert recorded_threads(str(tmp_path / "checkpoints" / "last.ckpt")) is None
    assert recorded_threads("last.ckpt") is None


@pytest.mark.parametrize(("recorded", "expected"), [(2, 2), (8, MOST), (None, 1)])
def test_a_prediction_computes_on_the_threads_of_the_run_or_on_one(in_a_command, tmp_path, recorded, expected):
    if recorded is not None:
        (tmp_path / "provenance.json").write_text(json.dumps({"machine": {"torch_threads": recorded}}))
    torch.set_num_threads(2)
    use_recorded_threads(str(tmp_path / "checkpoints" / "best.ckpt"))
    assert torch.get_num_threads() == expected


def test_the_number_changes_gradients_by_rounding_alone():
    torch.manual_seed(0)
    estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [32]})
    inputs = torch.randn(256, 10, 3)
    estimator.scaler.fit(inputs[:, 0], 3.7 + 0.1 * inputs[:, 0, 0])
    gradients = []
    for count in (1, 2):
        torch.set_num_threads(count)
        estimator.zero_grad()
        estimator(inputs)[0].square().mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in estimator.parameters()]))
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-4 * float(gradients[0].abs().max()))
