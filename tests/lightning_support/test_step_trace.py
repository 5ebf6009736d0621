import json
import math

import pytest
import torch
from torch import nn

from vestim_pl.lightning_support.step_trace import Phase, StepTrace, traced


class Net(nn.Module):
    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.embed = nn.Linear(2, 3)
        self.recurrent = kind(3, 4, batch_first=True, **options)
        self.head = nn.Sequential(nn.Tanh(), nn.Linear(4 * (1 + options.get("bidirectional", False)), 1))

    def forward(self, x):
        return self.head(self.recurrent(self.embed(x))[0])


def trace_of(model, x, backward=True, ring=20):
    trace = StepTrace(ring)
    with traced(model, trace):
        loss = model(x).sum()
        if backward:
            loss.backward()
    return trace


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_finite_step_has_no_findings_and_leaves_no_hooks(kind):
    model, x = Net(kind), torch.randn(2, 5, 2)
    plain = model(x)
    trace = trace_of(model, x)
    assert trace.findings == {}
    assert trace.origin is None
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert "forward" not in vars(model.recurrent)
    assert torch.equal(plain, model(x))


def test_gate_that_overflows_is_named_before_the_cell_that_it_affects():
    model = Net()
    with torch.no_grad():
        model.recurrent.weight_ih_l0.zero_()
        model.recurrent.weight_ih_l0[4:8] = math.inf  # inf x 0 would be nan, so keep the inputs away from zero
        model.embed.weight.fill_(1.0)
        model.embed.bias.fill_(0.1)
    x = torch.ones(2, 5, 2)
    frame = trace_of(model, x, backward=False).findings[Phase.FORWARD].frame
    assert (frame.name, frame.tensor, frame.time) == ("recurrent", "forget gate pre-activation", 0)
    assert frame.range.value == "inf"


@pytest.mark.parametrize("time", [0, 3])
def test_first_time_step_and_layer(time):
    model = Net(num_layers=2)
    x = torch.randn(2, 5, 2)
    x[1, time] = math.nan
    trace = trace_of(model, x, backward=False)
    assert trace.findings[Phase.FORWARD].frame.name == "Net"  # where it enters
    frame = trace.findings[Phase.RECURRENT].frame
    assert (frame.name, frame.tensor, frame.time, frame.range.index) == ("recurrent", "input", time, (1, 0))
    trace = StepTrace()
    with traced(model.recurrent, trace):
        inputs = torch.randn(2, 5, 3)
        inputs[1, time, 2] = math.inf
        model.recurrent(inputs)
    frame = trace.origin.frame
    assert (frame.name, frame.tensor, frame.time, frame.range.index) == ("LSTM", "input", time, (1, 2))


def test_second_layer_is_named():
    lstm = nn.LSTM(2, 3, num_layers=2, batch_first=True)
    with torch.no_grad():
        lstm.weight_ih_l1[0, 0] = math.nan
    trace = StepTrace()
    with traced(lstm, trace):
        lstm(torch.randn(1, 4, 2))
    frame = trace.origin.frame
    assert (frame.name, frame.tensor, frame.time) == ("LSTM[1]", "input gate pre-activation", 0)


def test_backward_direction_is_named():
    model = Net(bidirectional=True)
    with torch.no_grad():
        model.recurrent.weight_ih_l0_reverse[0, 0] = math.nan
    frame = trace_of(model, torch.randn(1, 4, 2), backward=False).origin.frame
    assert (frame.name, frame.time) == ("recurrent (backwards)", 3)


def test_gradient_is_followed_back_to_its_first_bad_tensor():
    class Root(nn.Module):
        def forward(self, x):
            return x.sqrt()  # infinite slope at zero

    model = nn.ModuleDict({"lstm": nn.LSTM(2, 3, batch_first=True), "root": Root()})
    trace = StepTrace()
    with traced(model, trace):
        output = model["lstm"](torch.randn(1, 6, 2))[0]
        model["root"](output[:, 4] * 0.0).sum().backward()
    assert Phase.FORWARD not in trace.findings
    frame = trace.findings[Phase.BACKWARD].frame
    assert (frame.name, frame.tensor, frame.time) == ("lstm", "gradient of hidden", 4)


class Packed(nn.LSTM):
    """Packs its input and passes it by keyword."""

    def __init__(self):
        super().__init__(2, 3)
        self.inner = nn.LSTM(2, 3)

    def forward(self, x):
        return self.inner(input=nn.utils.rnn.pack_padded_sequence(x, [3, 2]))


class Last(nn.GRU):
    def forward(self, x):
        return super().forward(x)[0][-1]


@pytest.mark.parametrize(
    ("model", "name", "why"),
    [
        (Packed(), "inner", "it was given a packed sequence"),
        (nn.Sequential(nn.LSTM(2, 3, proj_size=2)), "0", "it has a proj_size"),
        (nn.Sequential(Last(2, 3)), "0", "it has its own forward"),
    ],
    ids=["packed", "projection", "subclass"],
)
def test_recurrent_layer_that_cannot_run_stepwise_is_recorded_as_a_whole(model, name, why):
    x = torch.randn(3, 2, 2)
    plain, trace = model(x), StepTrace()
    with traced(model, trace):
        output = model(x)
    assert str(plain) == str(output)
    assert trace.findings == {}
    assert f"module {name} does not run step by step because {why}; no time step within it is named" in trace.notes
    x[1, 0, 1] = math.nan
    trace = StepTrace()
    with traced(model.get_submodule(name), trace):
        model(x)
    frame = trace.origin.frame
    assert (frame.tensor, frame.time, frame.range.value) == ("input", None, "nan")
    assert trace_frames(trace)[-1].tensor == "output"


def trace_frames(trace):
    trace.see(Phase.UPDATE, "end", torch.tensor(math.nan))
    return trace.findings[Phase.UPDATE].history


def test_keyword_inputs_are_recorded():
    class Scale(nn.Module):
        def forward(self, x, factor):
            return x * factor

    trace, module = StepTrace(), Scale()
    with traced(module, trace):
        module(torch.ones(2), factor=torch.tensor([1.0, math.inf]))
    frame = trace.origin.frame
    assert (frame.tensor, frame.range.index) == ("input 1", (1,))
    trace, lstm = StepTrace(), nn.LSTM(2, 3)
    with traced(lstm, trace):
        lstm(input=torch.tensor([[[0.0, math.nan]]]))
    assert (trace.origin.frame.time, trace.notes) == (0, [])


def test_output_that_a_hook_changed_is_named_as_output():
    model = Net()
    model.recurrent.register_forward_hook(lambda module, args, output: (output[0] * math.nan, output[1]))
    trace = trace_of(model, torch.randn(2, 5, 2), backward=False)
    frame = trace.origin.frame
    assert (frame.name, frame.tensor, frame.time) == ("recurrent", "output", None)
    assert Phase.RECURRENT not in trace.findings


def test_ring_keeps_the_last_frames():
    trace = trace_of(Net(), torch.randn(1, 50, 2) * torch.tensor([1.0]), ring=5)
    trace.see(Phase.UPDATE, "weight", torch.tensor([math.nan]))
    history = trace.findings[Phase.UPDATE].history
    assert len(history) == 5
    assert all(frame.range.non_finite == 0 for frame in history)
    json.dumps(trace.as_dict())


def test_first_finding_of_a_phase_is_kept_and_the_earliest_phase_is_the_origin():
    trace = StepTrace()
    trace.see(Phase.LOSS, "loss", torch.tensor(math.nan))
    trace.see(Phase.BATCH, "x", torch.tensor([math.nan]))
    trace.see(Phase.BATCH, "y", torch.tensor([math.nan]))
    trace.see(Phase.PARAMETER, "index", torch.tensor([1]))  # integers are never non-finite
    assert trace.origin.frame.name == "x"


def test_state_argument_is_named_apart_from_the_input():
    class Stateful(nn.Module):
        def forward(self, x, state):
            return x + state[0]

    trace = StepTrace()
    module = Stateful()
    with traced(module, trace):
        module(torch.ones(2), (torch.tensor([1.0, math.nan]),))
    frame = trace.findings[Phase.FORWARD].frame
    assert (frame.tensor, frame.range.index) == ("input 1", (1,))
