"""Ensembles: the mean of members that are trained separately."""

import copy

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.networks import build_network
from vestim_pl.networks.gradient_clipping import clip_gradients

SPEC = {"name": "LSTM_EMA", "hidden_sizes": [7]}


@torch.no_grad()
def test_the_estimate_is_the_mean_of_members_with_their_own_states():
    ensemble = build_network({**SPEC, "members": 3}, features=2).eval()
    inputs = torch.randn(4, 20, 2)
    voltage, state = ensemble(inputs)
    alone = [member(inputs) for member in ensemble.members]
    torch.testing.assert_close(voltage, sum(volts for volts, _ in alone) / 3)
    assert all(torch.equal(a, b) for a, b in zip(state, [part for _, parts in alone for part in parts], strict=True))
    assert len({float(volts.sum()) for volts, _ in alone}) == 3, "members start from the same weights"
    again, _ = ensemble(inputs[:, 12:], ensemble(inputs[:, :12])[1], last=3)
    torch.testing.assert_close(again, voltage[:, -3:])


def test_a_member_trains_as_if_alone_on_its_own_lanes():
    features = ["SOC", "Current"]
    ensemble = VoltageEstimator(features, {**SPEC, "members": 2})
    batches = [SequenceBatch.of(torch.randn(6, 12, 2), 3.7 + 0.1 * torch.randn(6, 12)) for _ in range(2)]
    batches[1] = batches[1]._replace(fresh=torch.tensor([True, False] * 3))
    ensemble.scaler.fit(batches[0].inputs.flatten(0, 1), batches[0].target.flatten())
    ensemble.trainer = type("Trainer", (), {"log_every_n_steps": 1000})()
    for index, batch in enumerate(batches):
        ensemble.zero_grad()
        ensemble.training_step(batch, index).backward()
    for member, lanes in zip(ensemble.network.members, (slice(0, 3), slice(3, 6)), strict=True):
        alone = VoltageEstimator(features, SPEC)
        alone.network.load_state_dict(member.state_dict())
        alone.scaler.load_state_dict(ensemble.scaler.state_dict())
        alone.trainer = ensemble.trainer
        for index, batch in enumerate(batches):
            alone.zero_grad()
            part = SequenceBatch(*(field[lanes] for field in batch))
            alone.training_step(part, index).backward()
        for (name, parameter), twin in zip(member.named_parameters(), alone.network.parameters(), strict=True):
            torch.testing.assert_close(2 * parameter.grad, twin.grad, msg=name)


@pytest.mark.parametrize(("algorithm", "limit"), [("norm", 0.3), ("norm", None), ("value", 0.05)])
def test_a_member_is_clipped_as_if_it_were_alone(algorithm, limit):
    torch.manual_seed(0)
    batch = SequenceBatch.of(torch.randn(6, 12, 2), 3.7 + 0.1 * torch.randn(6, 12))
    batch.target[3:] += 1.0  # gives the second member the larger gradient

    def train(network, lanes, rate, weights=None):
        part = SequenceBatch(*(field[lanes] for field in batch))
        estimator = VoltageEstimator(["SOC", "Current"], network, {"name": "SGD", "lr": rate})
        estimator.scaler.fit(batch.inputs.flatten(0, 1), batch.target.flatten())
        if weights is not None:
            estimator.network.load_state_dict(weights)
        before = copy.deepcopy(estimator.network)
        trainer = Trainer(
            max_steps=3, gradient_clip_val=limit, gradient_clip_algorithm=algorithm, logger=False, accelerator="cpu",
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(estimator, DataLoader([part], batch_size=None))
        return before, estimator.network

    before, after = train({**SPEC, "members": 2}, slice(0, 6), rate=0.2)  # twice the rate for the mean of two losses
    for index, lanes in enumerate((slice(0, 3), slice(3, 6))):
        _, alone = train(SPEC, lanes, rate=0.1, weights=before.members[index].state_dict())
        for found, expected in zip(after.members[index].parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(found, expected)


def test_the_returned_norm_is_the_largest_scaled_as_if_trained_alone():
    ensemble = build_network({**SPEC, "members": 2}, features=2)
    for scale, member in zip((1.0, 3.0), ensemble.members, strict=True):
        for parameter in member.parameters():
            parameter.grad = torch.full_like(parameter, scale)
    size = sum(parameter.numel() for parameter in ensemble.members[0].parameters()) ** 0.5
    assert clip_gradients(ensemble, None).item() == pytest.approx(2 * 3 * size)
    assert clip_gradients(ensemble, None, "value").item() == pytest.approx(6.0)
    assert clip_gradients(ensemble, 4 * size).item() == pytest.approx(6 * size)
    assert {parameter.grad.max().item() for parameter in ensemble.members[0].parameters()} == {1.0}
    assert clip_gradients(ensemble, None).item() == pytest.approx(4 * size)


def test_with_fewer_lanes_than_members_some_members_do_not_train():
    ensemble = build_network({**SPEC, "members": 4}, features=2).train()
    inputs = torch.randn(2, 9, 2)
    voltage, state = ensemble(inputs[:, :4])
    more, _ = ensemble(inputs[:, 4:], state)
    for lane, member in enumerate(ensemble.members[1::2]):
        alone, _ = member(inputs[lane : lane + 1])
        torch.testing.assert_close(torch.cat([voltage, more], 1)[lane], alone[0])


def test_one_member_is_the_network_itself():
    assert type(build_network({**SPEC, "members": 1}, features=2)) is type(build_network(SPEC, features=2))


def test_no_member_is_refused():
    with pytest.raises(ConfigurationError, match=r"network\.members: 0"):
        build_network({**SPEC, "members": 0}, features=2)
