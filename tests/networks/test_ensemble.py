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


def test_a_member_learns_as_if_it_were_alone():
    features = ["SOC", "Current"]
    ensemble = VoltageEstimator(features, {**SPEC, "members": 2})
    batch = SequenceBatch.of(torch.randn(3, 12, 2), 3.7 + 0.1 * torch.randn(3, 12))
    ensemble.scaler.fit(batch.inputs.flatten(0, 1), batch.target.flatten())
    ensemble.trainer = type("Trainer", (), {"log_every_n_steps": 1000})()
    ensemble.training_step(batch, 0).backward()
    for member in ensemble.network.members:
        alone = VoltageEstimator(features, SPEC)
        alone.network.load_state_dict(member.state_dict())
        alone.scaler.load_state_dict(ensemble.scaler.state_dict())
        alone.trainer = ensemble.trainer
        alone.training_step(batch, 0).backward()
        for (name, parameter), twin in zip(member.named_parameters(), alone.network.parameters(), strict=True):
            torch.testing.assert_close(2 * parameter.grad, twin.grad, msg=name)


def test_one_member_is_the_network_itself():
    assert type(build_network({**SPEC, "members": 1}, features=2)) is type(build_network(SPEC, features=2))


def test_no_member_is_refused():
    with pytest.raises(ConfigurationError, match=r"network\.members: 0"):
        build_network({**SPEC, "members": 0}, features=2)
