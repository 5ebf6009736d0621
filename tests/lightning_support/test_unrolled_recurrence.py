import pytest
import torch
from torch import nn

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.unrolled_recurrence import unrolled, unrolled_recurrence

KINDS = [
    (nn.LSTM, {}),
    (nn.GRU, {}),
    (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu"}),
    (nn.LSTM, {"bias": False}),
    (nn.GRU, {"bias": False}),
]


def flat(output):
    return [output[0], *(output[1] if isinstance(output[1], tuple) else (output[1],))]


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("given_state", [False, True])
def test_equals_the_fused_layer_and_its_gradients(kind, options, layers, bidirectional, batch_first, given_state):
    module = kind(3, 5, layers, bidirectional=bidirectional, batch_first=batch_first, **options).double()
    inputs = torch.randn(4, 6, 3, dtype=torch.double, requires_grad=True)
    lanes = 4 if batch_first else 6
    shape = (layers * (1 + bidirectional), lanes, 5)
    state = None
    if given_state:
        hidden, cell = torch.randn(2, *shape, dtype=torch.double)
        state = (hidden, cell) if kind is nn.LSTM else hidden
    fused, ours = flat(module(inputs, state)), flat(unrolled_recurrence(module, inputs, state))
    wanted = torch.autograd.grad(sum(t.square().sum() for t in fused), [inputs, *module.parameters()])
    found = torch.autograd.grad(sum(t.square().sum() for t in ours), [inputs, *module.parameters()])
    for left, right in zip([*fused, *wanted], [*ours, *found], strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_unbatched(kind):
    module, inputs = kind(3, 5, 2), torch.randn(7, 3)
    for left, right in zip(flat(module(inputs)), flat(unrolled_recurrence(module, inputs)), strict=True):
        assert left.shape == right.shape
        torch.testing.assert_close(left, right)


def test_observed_tensors_are_those_of_the_step():
    module, steps = nn.LSTM(3, 5, batch_first=True), []
    inputs = torch.randn(2, 4, 3)
    output, (hidden, cell) = unrolled_recurrence(module, inputs, observe=steps.append)
    assert [step.time for step in steps] == [0, 1, 2, 3]
    for step in steps:
        torch.testing.assert_close(step.input, inputs[:, step.time])
        torch.testing.assert_close(step.hidden, output[:, step.time])
        assert step.gates.shape == (2, 20)
    torch.testing.assert_close(steps[-1].cell, cell[0])
    torch.testing.assert_close(steps[-1].hidden, hidden[0])
    previous = torch.cat([torch.zeros(1, 2, 5), output.transpose(0, 1)[:-1]])
    expected = inputs[:, 2] @ module.weight_ih_l0.T + module.bias_ih_l0 + previous[2] @ module.weight_hh_l0.T
    torch.testing.assert_close(steps[2].gates, expected + module.bias_hh_l0)


def test_context_names_layers_and_restores_them():
    model = nn.ModuleDict({"a": nn.LSTM(3, 3, 2), "b": nn.Sequential(nn.Linear(3, 3), nn.GRU(3, 3))})
    inputs, seen = torch.randn(4, 2, 3), []
    before = model["a"](inputs)[0]
    with unrolled(model, lambda name, step: seen.append((name, step.layer))) as names:
        model["b"](model["a"](inputs)[0])
    assert names == ["a", "b.1"]
    assert seen == [("a", 0)] * 4 + [("a", 1)] * 4 + [("b.1", 0)] * 4
    assert "forward" not in vars(model["a"])
    assert torch.equal(before, model["a"](inputs)[0])


def test_context_restores_layers_after_an_error():
    model = nn.GRU(3, 3)
    with pytest.raises(RuntimeError), unrolled(model, lambda name, step: None):
        model(torch.zeros(2, 1, 99))
    assert "forward" not in vars(model)


def test_dropout_between_layers_only_in_training():
    module, inputs = nn.LSTM(3, 50, 2, dropout=0.5), torch.randn(4, 2, 3)
    module.eval()
    torch.testing.assert_close(unrolled_recurrence(module, inputs)[0], module(inputs)[0])
    module.train()
    inner = []
    unrolled_recurrence(module, inputs, observe=inner.append)
    second = torch.stack([step.input for step in inner if step.layer == 1])
    assert 0.3 < (second == 0).float().mean() < 0.7


def test_unsupported_layers_and_inputs_are_refused():
    with pytest.raises(ConfigurationError, match="proj_size"):
        unrolled_recurrence(nn.LSTM(3, 5, proj_size=2), torch.zeros(2, 1, 3))
    packed = nn.utils.rnn.pack_padded_sequence(torch.zeros(2, 1, 3), [2])
    with pytest.raises(ConfigurationError, match="packed"):
        unrolled_recurrence(nn.LSTM(3, 5), packed)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_mixed_precision(kind):
    module, inputs = kind(3, 5, batch_first=True), torch.randn(2, 6, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, state = unrolled_recurrence(module, inputs)
    torch.testing.assert_close(low.float(), module(inputs)[0], rtol=0.05, atol=0.02)
    half = tuple(part.bfloat16() for part in state) if kind is nn.LSTM else state.bfloat16()
    full, _ = unrolled_recurrence(module, inputs, half)  # a carried state in half precision, outside autocast
    assert full.dtype == torch.float32


def test_own_forward_of_instance_or_class_runs_unchanged():
    class Twice(nn.GRU):
        def forward(self, x):
            return 2 * super().forward(x)[0]

    class Declared(nn.GRU):
        computes_as_base = True

        def forward(self, x, hx=None):
            return super().forward(x, hx)

    class Undeclared(Declared):
        def forward(self, x, hx=None):
            return super().forward(x, hx)[0]

    patched = nn.GRU(3, 3)
    patched.forward = lambda x: x + 1
    model = nn.ModuleDict(
        {"a": Twice(3, 3), "b": Declared(3, 3), "c": Undeclared(3, 3), "d": patched, "e": nn.LSTM(3, 3, proj_size=2)}
    )
    inputs, seen = torch.randn(4, 2, 3), []
    before = {name: module(inputs) for name, module in model.items()}
    with unrolled(model, lambda name, step: seen.append(name)) as names:
        after = {name: module(inputs) for name, module in model.items()}
    assert names == ["b"]
    assert set(seen) == {"b"}
    for name in "acde":
        assert all(map(torch.equal, flat(before[name]), flat(after[name])))
    assert torch.equal(patched(inputs), inputs + 1)  # restored
