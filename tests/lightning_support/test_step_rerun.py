import logging

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from vestim_pl.lightning_support.random_state import random_states
from vestim_pl.lightning_support.step_rerun import (
    StepInputs,
    load_state,
    loss_of_step,
    quiet_trainer,
    rerun_step,
    silence,
    silent_copy,
)
from vestim_pl.lightning_support.step_trace import Phase, StepTrace


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
    rerun_step(module, inputs_of(*batches, divisor=3), StepTrace(), None)  # a window of 3, cut short by an epoch's end
    found = module.layer.weight.grad.clone()
    module.zero_grad()
    for seed, batch in enumerate(batches):
        torch.manual_seed(seed)
        (module.training_step(batch, 0) / 3).backward()
    assert torch.equal(found, module.layer.weight.grad)


def test_loss_scale_cancels_out():
    module, batch = silence(Net()), torch.randn(4, 2)
    rerun_step(module, inputs_of(batch), StepTrace(), None)
    plain = module.layer.weight.grad.clone()
    rerun_step(module, inputs_of(batch, loss_scale=1024.0), StepTrace(), None)
    assert torch.allclose(plain, module.layer.weight.grad)


def test_update_uses_the_gradients_that_the_run_applied():
    module, trace = silence(Net()), StepTrace()
    before = [p.detach().clone() for p in module.parameters()]
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    applied = {"layer.weight": torch.tensor([[1.0, 2.0]])}  # a callback removed that of the bias
    rerun_step(module, inputs_of(torch.ones(4, 2), applied=applied), trace, optimizer)
    torch.testing.assert_close(module.layer.weight, before[0] - applied["layer.weight"])
    assert torch.equal(module.layer.bias, before[1])
    rerun_step(module, inputs_of(torch.ones(4, 2)), trace, optimizer)  # the run made no update
    torch.testing.assert_close(module.layer.weight, before[0] - applied["layer.weight"])
    assert trace.findings == {}


def test_bad_applied_gradient_is_named():
    module, trace = silence(Net()), StepTrace()
    applied = {"layer.weight": torch.tensor([[1.0, float("nan")]])}
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    rerun_step(module, inputs_of(torch.ones(4, 2), applied=applied), trace, optimizer)
    assert (trace.origin.frame.phase, trace.origin.frame.name) == (Phase.GRADIENT, "layer.weight")


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
    trace, applied = StepTrace(), {key: torch.full_like(value, 10.0) for key, value in module.named_parameters()}
    rerun_step(module, inputs_of(batch, applied=applied), trace, optimizer)
    expected = {"moment": Phase.PARAMETER}.get(name, Phase.UPDATE if name == "update" else None) or Phase(name)
    assert trace.origin.frame.phase is expected
    if name == "moment":
        assert trace.origin.frame.tensor == "optimizer's momentum_buffer"


@pytest.mark.parametrize("output", [lambda loss: {"loss": loss}, lambda loss: None, lambda loss: loss.detach()])
def test_every_return_type_of_training_step(output):
    trace = StepTrace()
    rerun_step(silence(Net(output)), inputs_of(torch.ones(1, 2)), trace, None)
    assert trace.findings == {}


def test_training_step_of_the_class_is_used():
    module = silence(Net())
    module.training_step = lambda batch, batch_idx: 1 / 0
    assert torch.isfinite(loss_of_step(module, torch.ones(1, 2), 0))


def test_copy_logs_nothing_and_shares_the_trainer():
    module, trainer = Net(), Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    copy = silent_copy(trainer, module)
    assert copy.trainer is trainer
    assert copy.layer.weight is not module.layer.weight
    copy.training_step(torch.ones(1, 2), 0)
    assert "log" not in vars(module)


def test_load_state_notes_what_is_missing():
    class Net(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(1, 1), nn.BatchNorm1d(1)

    notes = load_state(Net(), {"layer.weight": torch.ones(1, 1)}, {"gone": torch.ones(1)}, {})
    assert "buffer gone of the bundle does not fit the module" in notes
    assert "parameter layer.bias is not in the bundle" in notes


def test_prints_and_writes_nothing(caplog, capsys, tmp_path):
    level = logging.getLogger("lightning.pytorch").level
    trainer = quiet_trainer()
    assert trainer.log_every_n_steps > 0
    assert not caplog.records
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert logging.getLogger("lightning.pytorch").level == level


def test_reports_epoch_and_step_of_the_run():
    trainer = quiet_trainer(epoch=3, step=70, batches=12, max_epochs=9, accumulate_grad_batches=2)
    module = BoringModel()
    module.trainer = trainer
    assert (module.current_epoch, module.global_step, trainer.num_training_batches) == (3, 70, 12)
    assert (trainer.max_epochs, trainer.accumulate_grad_batches, trainer.training) == (9, 2, True)
