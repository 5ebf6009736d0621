import contextlib

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from vestim_pl.functional.random_state import random_states
from vestim_pl.functional.step_rerun import StepInputs, copy_aside, loss_of_step, precision_context, rerun_step, silence
from vestim_pl.functional.step_trace import Phase, StepTrace


class Net(LightningModule):
    def __init__(self, output=lambda loss: loss):
        super().__init__()
        self.layer, self.output = nn.Linear(2, 1), output

    def training_step(self, batch, batch_idx):
        self.log("loss", 1.0)
        return self.output(nn.functional.dropout(self.layer(batch), 0.5).square().mean())


def inputs_of(*batches, **options):
    states = []
    for seed in range(len(batches)):
        torch.manual_seed(seed)
        states.append(random_states())
    return StepInputs(batches, range(len(batches)), states, **options)


def test_gradients_are_those_of_the_accumulated_loss():
    module, batches = silence(Net()), (torch.randn(4, 2), torch.randn(4, 2))
    rerun_step(module, inputs_of(*batches), StepTrace(), None)
    found = module.layer.weight.grad.clone()
    module.zero_grad()
    for seed, batch in enumerate(batches):
        torch.manual_seed(seed)
        (module.training_step(batch, 0) / 2).backward()
    assert torch.equal(found, module.layer.weight.grad)


def test_loss_scale_cancels_out():
    module, batch = silence(Net()), torch.randn(4, 2)
    rerun_step(module, inputs_of(batch), StepTrace(), None)
    plain = module.layer.weight.grad.clone()
    rerun_step(module, inputs_of(batch, loss_scale=1024.0), StepTrace(), None)
    assert torch.allclose(plain, module.layer.weight.grad)


@pytest.mark.parametrize(("by_value", "expected"), [(False, 0.01), (True, 0.01 * 3**0.5)])
def test_update_is_clipped_as_the_trainer_does(by_value, expected):
    module = silence(Net())
    before = [p.detach().clone() for p in module.parameters()]
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    inputs = inputs_of(100 * torch.ones(4, 2), clip_value=0.01, clip_by_value=by_value)
    rerun_step(module, inputs, StepTrace(), optimizer)
    change = torch.cat([(p - b).flatten() for p, b in zip(module.parameters(), before, strict=True)])
    assert change.norm().item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["parameter", "moment", "batch", "loss", "gradient", "update"])
def test_each_phase_is_seen(name):
    module = silence(Net(lambda loss: loss * float("inf") if name == "loss" else loss))
    optimizer = torch.optim.SGD(module.parameters(), lr=1e38 if name == "update" else 0.1, momentum=0.9)
    batch = torch.full((4, 2), 1e3 if name == "update" else 1.0)
    if name == "parameter":
        nn.init.constant_(module.layer.bias, float("nan"))
    if name == "moment":
        optimizer.state[module.layer.weight]["momentum_buffer"] = torch.tensor([[1.0, float("inf")]])
    if name == "batch":
        batch[1, 1] = float("nan")
    if name == "gradient":
        module.layer.weight.register_hook(lambda grad: grad * float("nan"))
    trace = StepTrace()
    rerun_step(module, inputs_of(batch), trace, optimizer)
    expected = {"moment": Phase.PARAMETER}.get(name, Phase.UPDATE if name == "update" else None) or Phase(name)
    assert trace.origin.frame.phase is expected
    if name == "moment":
        assert trace.origin.frame.tensor == "optimizer's momentum_buffer"


@pytest.mark.parametrize("output", [lambda loss: {"loss": loss}, lambda loss: None, lambda loss: loss.detach()])
def test_whatever_a_training_step_returns(output):
    trace = StepTrace()
    rerun_step(silence(Net(output)), inputs_of(torch.ones(1, 2)), trace, None)
    assert trace.findings == {}


def test_training_step_of_the_class_is_taken():
    module = silence(Net())
    module.training_step = lambda batch, batch_idx: 1 / 0
    assert torch.isfinite(loss_of_step(module, torch.ones(1, 2), 0))


def test_copy_logs_nothing_and_knows_the_trainer():
    module, trainer = Net(), Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    aside = copy_aside(trainer, module)
    assert aside.trainer is trainer
    assert aside.layer.weight is not module.layer.weight
    aside.training_step(torch.ones(1, 2), 0)
    assert "log" not in vars(module)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16), ("32-true", torch.float32)]
)
def test_autocast_of_the_precision(precision, dtype):
    with precision_context(precision, "cpu") as context:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is dtype
    assert context is None or isinstance(context, contextlib.AbstractContextManager)
