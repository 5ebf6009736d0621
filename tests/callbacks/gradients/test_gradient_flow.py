import math

import pytest
import torch
from torch import nn

from vestim_pl.callbacks.gradients.gradient_flow import (
    FlowVerdict,
    describe_flow,
    measure_gradient_flow,
    summarize_flow,
)
from vestim_pl.errors import ConfigurationError
from vestim_pl.networks import build_network


def scalar_rnn(weight, nonlinearity="relu"):
    """h_t = weight h_{t-1} + x_t, so dLoss/dh at lag k is weight^k: an answer known in closed form."""
    rnn = nn.RNN(1, 1, batch_first=True, nonlinearity=nonlinearity, bias=False)
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(weight)
        rnn.weight_ih_l0.fill_(1.0)
    return rnn


@pytest.mark.parametrize(
    ("weight", "verdict"), [(0.5, FlowVerdict.VANISHES), (1.0, FlowVerdict.CARRIES), (1.2, FlowVerdict.EXPLODES)]
)
def test_known_answer(weight, verdict):
    rnn = scalar_rnn(weight)
    (flow,) = measure_gradient_flow(rnn, lambda: rnn(torch.ones(1, 40, 1))[0][:, -1].sum())
    assert flow.layer == "RNN"
    assert flow.hidden_norms == pytest.approx([weight**lag for lag in range(40)], rel=1e-4)
    assert flow.factor_per_step == pytest.approx(weight, rel=1e-4)
    assert flow.verdict is verdict
    assert not flow.from_last_step
    assert flow.cell_norms == []


def test_effective_memory_holds_the_mass():
    assert summarize_flow([1.0] * 100)[0] == 99
    assert summarize_flow([1.0] * 100, mass=0.5)[0] == 50
    assert summarize_flow([1.0, 0.0, 0.0])[0] == 1
    assert summarize_flow([0.9**lag for lag in range(400)])[0] == math.ceil(math.log(0.01) / math.log(0.9))


@pytest.mark.parametrize(
    ("norms", "verdict"),
    [([0.0, 0.0], FlowVerdict.NO_GRADIENT), ([1.0, math.inf], FlowVerdict.EXPLODES), ([], FlowVerdict.NO_GRADIENT)],
)
def test_degenerate_norms(norms, verdict):
    memory, far, _, found = summarize_flow(norms)
    assert found is verdict
    assert memory == 0
    assert math.isnan(far)


def test_loss_over_every_step_is_followed_from_the_last():
    rnn = scalar_rnn(0.5)
    (flow,) = measure_gradient_flow(rnn, lambda: rnn(torch.ones(1, 40, 1))[0].sum())
    assert flow.from_last_step
    # the gradient that comes in at the last step is 1, whatever the other steps get
    assert flow.hidden_norms == pytest.approx([0.5**lag for lag in range(40)], rel=1e-4)


class Stack(nn.Module):
    def __init__(self, every_step):
        super().__init__()
        self.every_step = every_step
        self.first, self.second = nn.LSTM(2, 6, batch_first=True), nn.GRU(6, 4, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        y = self.head(self.second(self.first(x)[0])[0])
        return (y if self.every_step else y[:, -1:]).square().sum()


def test_stack_agrees_with_plain_autograd_through_single_steps():
    model, x = Stack(every_step=False), torch.randn(3, 12, 2)
    flows = measure_gradient_flow(model, lambda: model(x))
    assert [flow.layer for flow in flows] == ["first", "second"]
    # cut the first layer's sequence at lag 4 by hand: the gradient of its state there, through both layers
    head, (hidden, cell) = model.first(x[:, :8])
    hidden = hidden.detach().requires_grad_()
    tail, _ = model.first(x[:, 8:], (hidden, cell.detach()))
    lower = torch.cat([head[:, :7].detach(), hidden.transpose(0, 1), tail], dim=1)
    loss = model.head(model.second(lower)[0])[:, -1:].square().sum()
    (d_hidden,) = torch.autograd.grad(loss, [hidden])
    assert flows[0].hidden_norms[4] == pytest.approx(d_hidden.norm().item(), rel=1e-4)
    assert len(flows[0].cell_norms) == 12
    assert flows[1].cell_norms == []


def test_stacked_loss_over_every_step_follows_all_layers():
    model, x = Stack(every_step=True), torch.randn(3, 12, 2)
    flows = measure_gradient_flow(model, lambda: model(x))
    model.every_step = False
    expected = measure_gradient_flow(model, lambda: model(x))
    for ours, theirs in zip(flows, expected, strict=True):
        assert ours.from_last_step
        assert ours.hidden_norms == pytest.approx(theirs.hidden_norms, rel=1e-3)


def test_cell_norms_are_those_of_the_cell_state():
    lstm = nn.LSTM(2, 3, batch_first=True)
    x = torch.randn(2, 9, 2)
    (flow,) = measure_gradient_flow(lstm, lambda: lstm(x)[1][1].sum())  # the final cell is all that the loss reads
    assert flow.hidden_norms[0] == 0
    assert flow.cell_norms[0] == pytest.approx(6**0.5)
    _, (hidden, cell) = lstm(x[:, :-1])
    gates = x[:, -1] @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + hidden[0] @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
    forget = gates[:, 3:6].sigmoid()
    assert flow.cell_norms[1] > 0.5 * forget.norm().item()
    del cell


def test_final_state_as_the_only_output():
    lstm = nn.LSTM(2, 3, 2, batch_first=True)
    flows = measure_gradient_flow(lstm, lambda: lstm(torch.randn(2, 9, 2))[1][0][-1].sum())
    assert [flow.layer for flow in flows] == ["LSTM", "LSTM[1]"]
    assert all(len(flow.hidden_norms) == 9 and flow.hidden_norms[0] > 0 for flow in flows)


def test_tiny_gradients_do_not_underflow():
    rnn = scalar_rnn(0.1)
    (flow,) = measure_gradient_flow(rnn, lambda: rnn(torch.ones(1, 30, 1))[0][:, -1].sum())
    assert flow.hidden_norms[29] == pytest.approx(1e-29, rel=1e-3)


def test_parameter_gradients_are_left_alone():
    model = Stack(every_step=False)
    model.head.weight.grad = torch.full((1, 4), 7.0)
    measure_gradient_flow(model, lambda: model(torch.randn(3, 5, 2)))
    assert torch.equal(model.head.weight.grad, torch.full((1, 4), 7.0))
    assert model.first.weight_ih_l0.grad is None


def test_model_without_recurrence_is_refused():
    linear = nn.Linear(2, 1)
    with pytest.raises(ConfigurationError, match=r"nn\.LSTM"):
        measure_gradient_flow(linear, lambda: linear(torch.ones(1, 2)).sum())


def test_description_says_when_the_window_is_longer_than_the_gradient_reaches():
    rnn = scalar_rnn(0.5)
    (flow,) = measure_gradient_flow(rnn, lambda: rnn(torch.ones(1, 40, 1))[0][:, -1].sum())
    text = describe_flow(flow)
    assert "99 % of the gradient of RNN lies within the last 7 of 40 steps and it vanishes (x 0.5 a step)" in text
    assert "learns almost nothing from earlier steps" in text
    (flow,) = measure_gradient_flow(rnn, lambda: 0.0 * rnn(torch.ones(1, 40, 1))[0].sum())
    assert "does not depend" in describe_flow(flow)


def attention_network(lookback=30, layers=2):
    torch.manual_seed(0)
    spec = {"name": "Transformer", "hidden_sizes": [8] * layers, "heads": 2, "lookback": lookback}
    return build_network(spec, features=3).double()


def test_attention_is_followed_to_the_keys_and_values_of_each_step():
    network = attention_network(layers=1)
    inputs = torch.randn(4, 30, 3, dtype=torch.float64)
    [flow] = measure_gradient_flow(network, lambda: network(inputs, None, 1)[0].square().sum())
    assert flow.layer == "layers.0"
    assert len(flow.hidden_norms) == 30
    assert not flow.from_last_step

    kept: list = []
    for module in (network.layers[0].key_norm, network.layers[0].key_value):
        module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    loss = network(inputs, None, 1)[0].square().sum()
    projected, keys = kept  # the projection holds the keys before their norm, and the values
    by_key, by_value = torch.autograd.grad(loss, [keys, projected])
    gradient = torch.cat([by_key.flatten(2), by_value.chunk(2, dim=-1)[1]], dim=-1)
    expected = gradient.flip(1).transpose(0, 1).flatten(1).norm(dim=1)
    assert flow.hidden_norms == pytest.approx(expected.tolist())


def test_of_a_loss_over_all_steps_only_the_last_query_of_attention_is_followed():
    network = attention_network(lookback=10)
    inputs = torch.randn(4, 50, 3, dtype=torch.float64)
    flows = measure_gradient_flow(network, lambda: network(inputs)[0].square().sum())
    assert [flow.layer for flow in flows] == ["layers.0", "layers.1"]
    assert all(flow.from_last_step for flow in flows)
    assert len(flows[1].hidden_norms) >= 10
    assert not any(flows[1].hidden_norms[10:])  # out of the last query's reach
