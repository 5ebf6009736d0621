import math

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from tests.callbacks.foreign import ForeignRecurrent, fit
from vestim_pl.callbacks import CrashBundle
from vestim_pl.functional.bundle_content import (
    bundle_content,
    loss_scale,
    recordings_of,
    step_inputs,
)
from vestim_pl.functional.plain_data import is_complete
from vestim_pl.functional.step_window import StepWindow


def window_in_a_run(**options):
    module = ForeignRecurrent()
    trainer = fit(module, [CrashBundle()], max_steps=1, **options)
    window = StepWindow(module, trainer.optimizers[0])
    window.start_batch((torch.full((2, 3, 2), math.nan), torch.zeros(2, 3)), 7)
    window.copy_state()
    return trainer, module, window


@pytest.mark.parametrize(("algorithm", "by_value"), [(None, False), ("norm", False), ("value", True)])
def test_clipping_is_that_of_the_trainer(algorithm, by_value):
    trainer, _, window = window_in_a_run(gradient_clip_val=0.5, gradient_clip_algorithm=algorithm)
    inputs = step_inputs(trainer, window)
    assert (inputs.clip_value, inputs.clip_by_value, inputs.precision) == (0.5, by_value, "32-true")


def test_content_is_plain():
    trainer, module, window = window_in_a_run()
    content = bundle_content(trainer, module, window)
    assert is_complete([content["module"]["hparams"], *content["batches"], content["extras"]])
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
