"""The scaler: its statistics, its messages, and its state in a checkpoint."""

import logging

import pytest
import torch

from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.networks.scaling import StandardScaler


@pytest.fixture
def data():
    inputs = torch.randn(1000, 3) * torch.tensor([5.0, 10.0, 0.3]) + torch.tensor([-1.0, 25.0, 0.5])
    return inputs, 3.7 + 0.2 * torch.randn(1000)


@pytest.mark.parametrize("chunk", [1, 7, 1000, 65536])
def test_statistics_equal_those_in_float64(data, chunk):
    inputs, target = data
    scaler = StandardScaler(3)
    scaler.fit(inputs, target, chunk)
    torch.testing.assert_close(scaler.input_mean, inputs.double().mean(0).float())
    torch.testing.assert_close(scaler.input_std, inputs.double().std(0, correction=0).float())
    torch.testing.assert_close(scaler.target_mean, target.double().mean().float())
    torch.testing.assert_close(scaler.target_std, target.double().std(correction=0).float())
    assert scaler.target_std.shape == ()


def test_a_small_variation_on_a_large_mean_is_not_lost():
    target = 4000 + 0.01 * torch.randn(300_000)
    scaler = StandardScaler(1)
    scaler.fit(target.unsqueeze(1), target)
    assert scaler.target_std.item() == pytest.approx(target.double().std().item(), rel=1e-5)


def test_scaled_data_have_zero_mean_and_unit_deviation_and_come_back(data):
    inputs, target = data
    scaler = StandardScaler(3)
    scaler.fit(inputs, target)
    scaled = scaler.scale_inputs(inputs.view(10, 100, 3))
    assert scaled.shape == (10, 100, 3)
    torch.testing.assert_close(scaled.mean((0, 1)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(scaled.view(-1, 3).std(0, correction=0), torch.ones(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(scaler.unscale_target(scaler.scale_target(target)), target)
    torch.testing.assert_close(scaler.scale_target(target).std(correction=0), torch.tensor(1.0))


def test_a_constant_column_is_named_and_not_divided_by_zero(data, caplog):
    inputs, target = data
    inputs[:, 1] = 25.3
    scaler = StandardScaler(["Current [A]", "Temperature [degC]", "SOC"])
    with caplog.at_level(logging.WARNING, "vestim_pl"):
        scaler.fit(inputs, torch.full_like(target, 3.6))
    assert [record.getMessage().split(" is constant")[0] for record in caplog.records] == [
        "Temperature [degC]",
        "the target",
    ]
    assert scaler.input_std[1] == 1
    assert scaler.target_std == 1
    assert scaler.scale_inputs(inputs)[:, 1].abs().max() < 1e-5


def test_use_before_fitting_is_refused():
    scaler = StandardScaler(3)
    for use, value in [
        (scaler.scale_inputs, torch.zeros(2, 3)),
        (scaler.scale_target, torch.zeros(2)),
        (scaler.unscale_target, torch.zeros(2)),
    ]:
        with pytest.raises(ConfigurationError, match="used before it was fitted"):
            use(value)


def test_a_checkpoint_contains_it(data):
    scaler, twin = StandardScaler(3), StandardScaler(3)
    scaler.fit(*data)
    twin.load_state_dict(scaler.state_dict())
    assert torch.equal(twin.scale_inputs(data[0]), scaler.scale_inputs(data[0]))
    twin.load_state_dict(StandardScaler(3).state_dict())
    with pytest.raises(ConfigurationError, match="used before it was fitted"):
        twin.scale_inputs(data[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_values_are_refused_by_name(data, value):
    inputs, target = data
    inputs[500, 2] = value
    scaler = StandardScaler(["Current [A]", "Temperature [degC]", "SOC"])
    with pytest.raises(DataError, match="SOC has non-finite values; correct or remove"):
        scaler.fit(inputs, target)
    assert not scaler.fitted


@pytest.mark.parametrize(("rows", "columns", "targets"), [(0, 3, 0), (5, 2, 5), (5, 3, 4)])
def test_data_of_the_wrong_shape_are_refused(rows, columns, targets):
    with pytest.raises(DataError, match="with N at least 1"):
        StandardScaler(3).fit(torch.zeros(rows, columns), torch.zeros(targets))
