import math

import torch
from lightning.pytorch.plugins import MixedPrecision

from tests.callbacks.foreign import ForeignRecurrent, fit
from vestim_pl.callbacks import CrashBundle
from vestim_pl.callbacks.crash_bundle.bundle_content import (
    bundle_content,
    loss_scale,
    recordings_of,
    step_before,
    step_inputs,
)
from vestim_pl.callbacks.crash_bundle.plain_data import is_complete
from vestim_pl.callbacks.crash_bundle.step_window import StepWindow


def window_in_a_run(**options):
    module = ForeignRecurrent()
    trainer = fit(module, [CrashBundle()], max_steps=1, **options)
    window = StepWindow(module, trainer.optimizers[0])
    window.start_batch((torch.full((2, 3, 2), math.nan), torch.zeros(2, 3)), 7)
    window.copy_state()
    return trainer, module, window


def test_conditions_are_those_of_the_trainer():
    trainer, module, window = window_in_a_run(accumulate_grad_batches=4, max_epochs=3)
    inputs = step_inputs(trainer, window)
    assert (inputs.divisor, inputs.precision) == (4, "32-true")
    told = bundle_content(trainer, module, window)["trainer"]
    assert told == {
        "epoch": 1, "step": 1, "batches": 12, "max_epochs": 3, "max_steps": 1, "accumulate_grad_batches": 4
    }  # fmt: skip


def test_step_and_gradients_before_and_after_the_update():
    trainer, module, window = window_in_a_run()
    assert (step_before(trainer, window), bundle_content(trainer, module, window)["applied"]) == (1, None)
    window.updating = True
    assert step_before(trainer, window) == 0  # of the one that was made already
    applied = bundle_content(trainer, module, window)["applied"]
    assert applied["cell.weight"] is module.cell.weight.grad
    trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.increment_ready()
    assert (step_before(trainer, window), bundle_content(trainer, module, window)["applied"]) == (1, None)


def test_content_is_plain():
    trainer, module, window = window_in_a_run()
    content = bundle_content(trainer, module, window)
    plain = [content["module"]["hparams"], content["module"]["initial"], *content["batches"], content["extras"]]
    assert is_complete(plain)
    assert content["module"]["class"] == "tests.callbacks.foreign:ForeignRecurrent"
    assert content["indices"] == [7]


def test_scale_before_the_scaler_lowered_it():
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    trainer, _, _ = window_in_a_run(plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    assert loss_scale(trainer) == 8.0
    assert loss_scale(trainer, lowered=True) == 16.0


def test_recordings_of_the_bad_rows():
    trainer, _, window = window_in_a_run()
    assert recordings_of(trainer, window) == []

    class Data:
        def locate(self, batch):
            return [{"recording": "a"}, {"recording": "b"}]

    trainer.datamodule = Data()
    window.batches = [(torch.tensor([[1.0], [math.nan]]), torch.zeros(2))]
    assert recordings_of(trainer, window) == [{"recording": "b"}]
