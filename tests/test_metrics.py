"""VoltageErrors equals NumPy, with weights, over several updates."""

import numpy as np
import pytest
import torch

from vestim_pl.metrics import VoltageErrors


def test_weighted_errors_over_updates_equal_numpy_over_all():
    generator = torch.Generator().manual_seed(0)
    parts = [(torch.randn(3, n, generator=generator) * 40, torch.rand(3, n, generator=generator) > 0.4) for n in (5, 9)]
    errors = VoltageErrors()
    for error, counts in parts:
        errors.update(error, counts.float())
    counted = np.concatenate([error[counts].numpy() for error, counts in parts]).astype(np.float64)
    result = {name: float(value) for name, value in errors.compute().items()}
    assert result["rmse_mv"] == pytest.approx(np.sqrt(np.mean(counted**2)), rel=1e-5)
    assert result["mae_mv"] == pytest.approx(np.mean(np.abs(counted)), rel=1e-5)
    assert result["max_error_mv"] == pytest.approx(np.max(np.abs(counted)), rel=1e-6)


def test_a_large_masked_error_does_not_count():
    errors = VoltageErrors()
    errors.update(torch.tensor([1.0, 1e9]), torch.tensor([1.0, 0.0]))
    assert float(errors.compute()["max_error_mv"]) == 1.0


def test_many_small_updates_lose_no_precision():
    errors = VoltageErrors()
    for _ in range(20_000):
        errors.update(torch.full((64,), 0.1), torch.ones(64))
    assert float(errors.compute()["rmse_mv"]) == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_errors_are_not_hidden(bad):
    errors = VoltageErrors()
    errors.update(torch.tensor([1.0, bad]), torch.ones(2))
    assert not any(torch.isfinite(value) for value in errors.compute().values())


def test_nothing_scored_is_nan():
    assert all(torch.isnan(value) for value in VoltageErrors().compute().values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_left_out_batches_are_counted_and_the_others_are_as_without_them(bad):
    batches = [torch.randn(4, 6, generator=torch.Generator().manual_seed(seed)) * 30 for seed in range(3)]
    errors, without = VoltageErrors(leave_out=True), VoltageErrors()
    for error in batches:
        errors.update(error, torch.ones(4, 6))
        without.update(error, torch.ones(4, 6))
        spoiled = error.clone()
        spoiled[1, 2] = bad
        errors.update(spoiled, torch.ones(4, 6))
    result = errors.compute()
    assert float(result.pop("left_out")) == 3
    assert result == without.compute()


def test_all_left_out_is_nan():
    errors = VoltageErrors(leave_out=True)
    errors.update(torch.tensor([float("nan")]), torch.ones(1))
    assert torch.isnan(errors.compute()["rmse_mv"])
    assert float(errors.compute()["left_out"]) == 1


def test_what_was_left_out_is_in_the_state_and_resets():
    errors, other = VoltageErrors(leave_out=True), VoltageErrors(leave_out=True)
    errors.persistent(True)
    errors.update(torch.tensor([float("nan")]), torch.ones(1))
    other.load_state_dict(errors.state_dict())
    assert float(other.compute()["left_out"]) == 1
    other.reset()
    assert float(other.compute()["left_out"]) == 0
