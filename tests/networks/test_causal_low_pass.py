"""The low-pass head: equality with scipy, gain, start and gradient."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter, lfilter_zi

from vestim_pl.errors import ConfigurationError
from vestim_pl.networks.causal_low_pass import CausalLowPass


@pytest.mark.parametrize("taps", [2, 5, 32])
def test_head_equals_scipy_started_at_the_first_sample(taps):
    head = CausalLowPass(taps).double()
    torch.nn.init.normal_(head.tap_logits)
    weights = head.taps.detach().numpy()
    signal = torch.randn(3, 200, dtype=torch.float64)
    smooth, _ = head(signal, head.zero_state(3, dtype=torch.float64))
    steady = lfilter_zi(weights, [1.0])  # steady state for a constant input of one
    for lane in range(3):
        expected = lfilter(weights, [1.0], signal[lane].numpy(), zi=steady * signal[lane, 0].item())[0]
        np.testing.assert_allclose(smooth[lane].detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("taps", [1, 2, 16])
def test_gain_at_direct_current_is_one(taps):
    head = CausalLowPass(taps)
    torch.nn.init.normal_(head.tap_logits, std=3)
    signal = torch.full((1, 50), 3.7)
    torch.testing.assert_close(head(signal, head.zero_state(1))[0], signal)
    assert (head.taps > 0).all()


def test_carried_lane_that_passed_zero_is_not_fresh():
    head = CausalLowPass(2)
    _, state = head(torch.zeros(1, 3), head.zero_state(1))
    assert head(torch.tensor([[3.0]]), state)[0].item() == pytest.approx(2.0)
    assert head(torch.tensor([[3.0]]), head.zero_state(1))[0].item() == pytest.approx(3.0)


def test_every_tap_learns():
    head = CausalLowPass(6)
    signal = torch.randn(2, 300, requires_grad=True)
    head(signal, head.zero_state(2))[0].square().mean().backward()
    assert (head.tap_logits.grad.abs() > 1e-6).all()
    assert (signal.grad != 0).all()


def test_half_of_the_weight_starts_on_the_newest_sample():
    assert CausalLowPass(16).taps[0].item() == pytest.approx(0.5, abs=1e-3)


def test_no_taps_are_refused():
    with pytest.raises(ConfigurationError, match=r"network\.taps: 0"):
        CausalLowPass(0)
