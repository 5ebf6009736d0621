import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from vestim_pl.callbacks import FlushDenormals
from vestim_pl.callbacks.runtime.flush_denormals import is_flushing, workers_not_flushing

# A program of a user with two threads; ``{first}`` is inserted at its top.
PROGRAM = """
import torch
torch.set_num_threads(2)
{first}
import json
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader
from vestim_pl.callbacks import FlushDenormals
from vestim_pl.callbacks.runtime.flush_denormals import is_flushing, workers_not_flushing

class Foreign(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        self.seen = [is_flushing(), *workers_not_flushing()]
        return self.layer(batch).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

class Listen(FlushDenormals):
    events = []
    def on_event(self, trainer, event):
        self.events.append(event.reason)

module = Foreign()
trainer = Trainer(
    max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, callbacks=[Listen()],
)
trainer.fit(module, DataLoader(torch.ones(2, 4)))
print("RESULT" + json.dumps([module.seen, Listen.events, is_flushing()]))
"""
PARALLEL = "torch.ones(1_000_000) * 2.0"
SET = "torch.set_flush_denormal(True)"


def run(first):
    source = PROGRAM.format(first=first)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", source], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.split("RESULT")[1])


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush subnormal numbers")
class TestInAProgramOfItsOwn:
    def test_set_before_the_workers_start_reaches_them_all(self):
        assert run("") == [[True, 0, 2], [], False]

    def test_running_too_late_is_reported_with_the_line_to_add(self):
        seen, events, _ = run(PARALLEL)
        assert seen == [True, 1, 2]
        assert len(events) == 1
        assert events[0].startswith("FlushDenormals was set after 1 of 2 threads had started; those threads do not flu")
        assert events[0].endswith(f"at the top of the program, before the first tensor operation: import torch; {SET}")

    def test_that_line_fixes_it_and_the_mode_of_the_program_stays(self):
        assert run(f"import torch; {SET}\n{PARALLEL}") == [[True, 0, 2], [], True]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("crash", [True, False])
def test_the_mode_of_the_thread_is_restored(before, crash, foreign, fit):
    seen = []

    def look(module, loss, batch_idx):
        seen.append(is_flushing())
        if crash:
            raise RuntimeError("crash")
        return loss

    torch.set_flush_denormal(before)
    callback = FlushDenormals()
    if crash:
        with pytest.raises(RuntimeError, match="crash"):
            fit(foreign.Module(loss_hook=look), [callback])
    else:
        trainer = fit(foreign.Module(loss_hook=look), [callback])
        assert is_flushing() is before
        trainer.test(foreign.Module(), foreign.loader(), verbose=False)
    assert is_flushing() is before
    assert set(seen) == {True}
    torch.set_flush_denormal(False)


def test_nothing_is_done_on_another_device():
    torch.set_flush_denormal(False)
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")))
    callback = FlushDenormals()
    callback.setup(trainer, None, "fit")
    assert not is_flushing()
    callback.teardown(trainer, None, "fit")


def test_a_processor_that_cannot_flush_is_an_event(foreign, fit, monkeypatch):
    monkeypatch.setattr("torch.set_flush_denormal", lambda enabled: False)
    events = []

    class Listen(FlushDenormals):
        def on_event(self, trainer, event):
            events.append(event.reason)

    fit(foreign.Module(), [Listen()], fast_dev_run=True)
    assert events == ["this processor cannot flush subnormal numbers"]


def test_checking_changes_nothing():
    before = is_flushing()
    torch.set_flush_denormal(True)
    assert is_flushing()
    assert is_flushing()
    torch.set_flush_denormal(False)
    assert not is_flushing()
    late, workers = workers_not_flushing()
    assert 1 <= late <= workers == torch.get_num_threads()
    torch.set_flush_denormal(before)
