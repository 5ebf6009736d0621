"""Fused kernels equal cells written out by hand."""

import pytest
import torch

from vestim_pl.networks.recurrent_layer import RecurrentLayer


def lstm_by_hand(kernel, inputs, hidden, cell):
    outputs = []
    for sample in inputs.unbind(1):
        gates = sample @ kernel.weight_ih_l0.T + kernel.bias_ih_l0 + hidden @ kernel.weight_hh_l0.T + kernel.bias_hh_l0
        admit, forget, candidate, expose = gates.chunk(4, dim=1)
        cell = forget.sigmoid() * cell + admit.sigmoid() * candidate.tanh()
        hidden = expose.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs, 1), (hidden, cell)


def gru_by_hand(kernel, inputs, hidden):
    outputs = []
    for sample in inputs.unbind(1):
        reset_i, update_i, candidate_i = (sample @ kernel.weight_ih_l0.T + kernel.bias_ih_l0).chunk(3, dim=1)
        reset_h, update_h, candidate_h = (hidden @ kernel.weight_hh_l0.T + kernel.bias_hh_l0).chunk(3, dim=1)
        update = (update_i + update_h).sigmoid()
        candidate = (candidate_i + (reset_i + reset_h).sigmoid() * candidate_h).tanh()
        hidden = (1 - update) * candidate + update * hidden
        outputs.append(hidden)
    return torch.stack(outputs, 1), (hidden,)


BY_HAND = {"LSTM": lstm_by_hand, "GRU": gru_by_hand}


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_kernel_equals_the_cell_by_hand(cell, dtype, atol):
    layer = RecurrentLayer(cell, 3, 12, forget_bias="chrono", lookback=50).to(dtype)
    torch.nn.init.normal_(layer.kernel.bias_hh_l0, std=0.3)  # distinguishes the two biases
    inputs = torch.randn(4, 30, 3, dtype=dtype, requires_grad=True)
    state = tuple(torch.randn_like(tensor) for tensor in layer.zero_state(4, dtype=dtype))
    output, carried = layer(inputs, state)
    expected, expected_state = BY_HAND[cell](layer.kernel, inputs, *state)
    torch.testing.assert_close(output, expected, rtol=0, atol=atol)
    torch.testing.assert_close(carried, expected_state, rtol=0, atol=atol)

    weights = torch.randn_like(output)
    leaves = (inputs, *layer.kernel.parameters())
    ours = torch.autograd.grad((output * weights).sum(), leaves)
    theirs = torch.autograd.grad((expected * weights).sum(), leaves)
    torch.testing.assert_close(ours, theirs, rtol=atol * 10, atol=atol * 100)


@pytest.mark.parametrize("lanes", [1, 4, 40])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_single_steps_without_gradients_equal_the_kernel(cell, lanes):
    layer = RecurrentLayer(cell, 3, 12, layer_norm=True)
    torch.nn.init.normal_(layer.kernel.bias_hh_l0, std=0.3)
    inputs = torch.randn(lanes, 30, 3)
    state = tuple(torch.randn_like(tensor) for tensor in layer.zero_state(lanes))
    expected, expected_state = layer(inputs, state)
    outputs = []
    with torch.no_grad():
        for step in range(30):
            output, state = layer(inputs[:, step : step + 1], state)
            outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, 1), expected.detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(state, tuple(tensor.detach() for tensor in expected_state), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_output_is_normalised_and_the_recurrence_is_not(cell):
    layer = RecurrentLayer(cell, 3, 12, layer_norm=True)
    inputs = torch.randn(4, 30, 3)
    output, carried = layer(inputs, layer.zero_state(4))
    raw, _ = BY_HAND[cell](layer.kernel, inputs, *layer.zero_state(4))
    torch.testing.assert_close(output, torch.nn.functional.layer_norm(raw, (12,)), rtol=0, atol=1e-5)
    torch.testing.assert_close(carried[0], raw[:, -1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_dropout_drops_outputs_in_training_only(layer_norm):
    layer = RecurrentLayer("LSTM", 3, 64, dropout=0.4, layer_norm=layer_norm)
    inputs = torch.randn(8, 30, 3)
    output, _ = layer(inputs, layer.zero_state(8))
    assert (output == 0).float().mean().item() == pytest.approx(0.4, abs=0.03)
    output, _ = layer.eval()(inputs, layer.zero_state(8))
    assert (output != 0).all()
