"""Filters over time equal those of scipy, up to extreme weights, lengths and numbers of taps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter, lfiltic

from vestim_pl.functional.filters import causal_fir, exponential_smoothing, first_order_recurrence


def scipy_smoothing(signal: np.ndarray, alpha: float, initial: np.ndarray) -> np.ndarray:
    state = (1 - alpha) * initial[:, None]
    return lfilter([alpha], [1, alpha - 1], signal, axis=1, zi=state)[0]


@pytest.mark.parametrize("alpha", [1e-7, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-7])
@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 256, 257, 1000, 40_000])
def test_smoothing_equals_scipy(alpha, length):
    signal, initial = torch.randn(2, length, dtype=torch.float64), torch.tensor([-3.0, 5.0], dtype=torch.float64)
    ours = exponential_smoothing(signal, torch.tensor(alpha, dtype=torch.float64), initial)
    expected = scipy_smoothing(signal.numpy(), alpha, initial.numpy())
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("alpha", [1e-6, 0.3, 1 - 1e-6])
def test_smoothing_is_accurate_in_float32_over_100k_steps(alpha):
    signal = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(3)) + 3
    rounded = torch.tensor(alpha).double().item()
    ours = exponential_smoothing(signal, torch.tensor(alpha), torch.zeros(2))
    expected = scipy_smoothing(signal.double().numpy(), rounded, np.zeros(2))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("alpha", [1e-6, 1e-2, 0.5, 1.0])
def test_smoothing_keeps_a_constant(alpha):
    signal = torch.full((1, 5000), 3.7)
    smooth = exponential_smoothing(signal, torch.tensor(alpha), signal[:, 0])
    torch.testing.assert_close(smooth, signal, rtol=2e-5, atol=0)


def test_smoothing_with_the_full_weight_passes_the_signal_with_a_finite_gradient():
    alpha, signal = torch.tensor(1.0, requires_grad=True), torch.randn(2, 300)
    smooth = exponential_smoothing(signal, alpha, torch.zeros(2))
    smooth.sum().backward()
    torch.testing.assert_close(smooth, signal, rtol=0, atol=1e-5)
    assert torch.isfinite(alpha.grad)


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 400), block=st.integers(1, 64), alpha=st.floats(0.001, 0.999), cut=st.floats(0, 1))
def test_smoothing_depends_on_neither_block_nor_chunk(length, block, alpha, cut):
    signal = torch.randn(2, length, dtype=torch.float64, generator=torch.Generator().manual_seed(length))
    weight, initial = torch.tensor(alpha, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    whole = exponential_smoothing(signal, weight, initial, block)
    np.testing.assert_allclose(whole.numpy(), scipy_smoothing(signal.numpy(), alpha, initial.numpy()), atol=1e-11)
    split = round(cut * length)
    if 0 < split < length:
        head = exponential_smoothing(signal[:, :split], weight, initial, block)
        tail = exponential_smoothing(signal[:, split:], weight, head[:, -1], block)
        torch.testing.assert_close(torch.cat([head, tail], 1), whole)


def test_smoothing_gradients_are_right():
    signal = torch.randn(2, 23, dtype=torch.float64, requires_grad=True)
    initial = torch.randn(2, dtype=torch.float64, requires_grad=True)
    for value in (0.02, 0.5, 0.97):
        alpha = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda *given: exponential_smoothing(*given, block=4), (signal, alpha, initial))


def test_no_power_of_the_decay_is_subnormal():
    decay = torch.tensor(0.3)
    response = first_order_recurrence(torch.eye(1, 250), decay.log(), torch.zeros(1))
    tiny = torch.finfo(torch.float32).tiny
    assert not ((response > 0) & (response < tiny)).any()


@pytest.mark.parametrize("taps", [1, 2, 8, 63])
@pytest.mark.parametrize("length", [1, 5, 64, 1000])
def test_fir_equals_scipy(taps, length):
    weights = torch.randn(taps, dtype=torch.float64)
    signal = torch.randn(3, length, dtype=torch.float64)
    history = torch.randn(3, taps - 1, dtype=torch.float64)
    ours = causal_fir(signal, weights, history).numpy()
    for lane in range(3):
        state = lfiltic(weights.numpy(), [1.0], y=[], x=history[lane].numpy()[::-1])
        expected = lfilter(weights.numpy(), [1.0], signal[lane].numpy(), zi=state)[0]
        np.testing.assert_allclose(ours[lane], expected, rtol=1e-12, atol=1e-12)


def test_fir_gradients_are_right():
    signal = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, dtype=torch.float64, requires_grad=True)
    history = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(causal_fir, (signal, weights, history))
