"""The smoothing head: equality with scipy, start and gradient."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from vestim_pl.errors import ConfigurationError
from vestim_pl.networks.exponential_smoothing import ExponentialSmoothing


@pytest.mark.parametrize("smoothing", [0.01, 0.5, 0.95])
def test_head_equals_scipy_started_at_the_first_sample(smoothing):
    head = ExponentialSmoothing(smoothing).double()
    alpha = head.alpha.item()
    assert alpha == pytest.approx(smoothing, rel=1e-6)
    signal = torch.randn(3, 500, dtype=torch.float64)
    smooth, _ = head(signal, head.zero_state(3, dtype=torch.float64))
    first = (1 - alpha) * signal[:, :1].numpy()
    expected = lfilter([alpha], [1, alpha - 1], signal.numpy(), axis=1, zi=first)[0]
    np.testing.assert_allclose(smooth.detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_carried_lane_that_passed_zero_is_not_fresh():
    head = ExponentialSmoothing(0.5)
    _, state = head(torch.zeros(1, 3), head.zero_state(1))
    smooth, _ = head(torch.tensor([[8.0]]), state)
    assert smooth.item() == 4.0
    assert head(torch.tensor([[8.0]]), head.zero_state(1))[0].item() == 8.0


def test_weight_learns():
    head = ExponentialSmoothing(0.3)
    signal = torch.randn(2, 300, requires_grad=True)
    head(signal, head.zero_state(2))[0].square().mean().backward()
    assert head.logit.grad.abs() > 1e-6
    assert (signal.grad != 0).all()


def test_training_finds_the_weight_of_the_data():
    signal = torch.randn(4, 200)
    wanted, _ = ExponentialSmoothing(0.1)(signal, ExponentialSmoothing().zero_state(4))
    head = ExponentialSmoothing(0.6)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (head(signal, head.zero_state(4))[0] - wanted.detach()).square().mean().backward()
        optimizer.step()
    assert head.alpha.item() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("smoothing", [0.0, 1.0, -0.2, float("nan")])
def test_weight_out_of_range_is_refused(smoothing):
    with pytest.raises(ConfigurationError, match=r"network\.smoothing"):
        ExponentialSmoothing(smoothing)
