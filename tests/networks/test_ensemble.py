"""Ensembles: the mean of their members, which learn apart."""

import pytest
import torch

from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.networks import build_network

SPEC = {"name": "LSTM_EMA", "hidden_sizes": [7]}


@torch.no_grad()
def test_it_is_the_mean_of_its_members_with_a_state_each():
    ensemble = build_network({**SPEC, "members": 3}, features=2).eval()
    inputs = torch.randn(4, 20, 2)
    voltage, state = ensemble(inputs)
    alone = [member(inputs) for member in ensemble.members]
    torch.testing.assert_close(voltage, sum(volts for volts, _ in alone) / 3)
    assert all(torch.equal(a, b) for a, b in zip(state, [part for _, parts in alone for part in parts], strict=True))
    assert len({float(volts.sum()) for volts, _ in alone}) == 3, "members start from the same weights"
    again, _ = ensemble(inputs[:, 12:], ensemble(inputs[:, :12])[1], last=3)
    torch.testing.assert_close(again, voltage[:, -3:])


def test_a_member_learns_as_if_it_were_alone_from_its_own_lanes():
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


def test_fewer_lanes_than_members_leave_some_members_out():
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
