import runpy
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, fit
from vestim_pl.callbacks import CrashBundle
from vestim_pl.callbacks.crash_bundle.reading import read_bundle
from vestim_pl.callbacks.crash_bundle.replaying import replay_bundle
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.step_trace import Phase


def build():
    return ForeignRecurrent(hidden=8)


def not_a_module():
    return 3


@pytest.fixture
def bundle():
    fit(ForeignRecurrent(), [FaultInjector("input", float("nan"), at=1), CrashBundle("bundles")], max_steps=2)
    return read_bundle(next(Path("bundles").glob("*.pt")))


def test_foreign_class_is_imported_only_with_trust(bundle):
    with pytest.raises(ConfigurationError, match="--trust"):
        replay_bundle(bundle)
    assert replay_bundle(bundle, trust=True).trace.origin.frame.phase is Phase.BATCH


def test_factory_instead_of_the_class(bundle):
    replay = replay_bundle(bundle, factory=f"{__name__}:build")
    assert replay.trace.origin.frame.phase is Phase.BATCH
    with pytest.raises(ConfigurationError, match="returned int, not a LightningModule"):
        replay_bundle(bundle, factory=f"{__name__}:not_a_module")


def test_hyperparameters_that_do_not_build_it(bundle):
    bundle["module"]["initial"] = {"hidden": "many"}
    with pytest.raises(ConfigurationError, match=r"cannot be built.*save_hyperparameters"):
        replay_bundle(bundle, trust=True)
    bundle["module"]["initial"] = {"hidden": {"__kind__": "opaque", "repr": "object"}}
    with pytest.raises(ConfigurationError, match=r"its hyperparameter hidden could not be saved.*--factory"):
        replay_bundle(bundle, trust=True)
    bundle["module"]["initial"] = {"__kind__": "opaque", "repr": "a configuration"}
    with pytest.raises(ConfigurationError, match=r"its hyperparameters could not be saved.*--factory"):
        replay_bundle(bundle, trust=True)


def test_weights_that_do_not_fit_are_noted(bundle):
    bundle["module"]["initial"] = {"hidden": 4}
    notes = replay_bundle(bundle, trust=True).notes
    assert "parameter cell.weight of the bundle does not fit the module" in notes
    assert notes[-1].startswith("the update is not replayed")


def test_foreign_optimizer_leaves_the_update_out(bundle):
    bundle["optimizer"]["class"], bundle["applied"] = "nowhere:Optimizer", {}
    notes = replay_bundle(bundle, trust=True).notes
    assert len(notes) == 1
    assert "the update is not replayed" in notes[0]


def test_random_state_of_the_caller_is_unchanged(bundle):
    before = torch.get_rng_state()
    replay_bundle(bundle, trust=True)
    assert torch.equal(before, torch.get_rng_state())


def test_loss_scale_is_part_of_the_replayed_step():
    fit(ForeignRecurrent(), [FaultInjector("gradient", float("nan"), at=1), CrashBundle("bundles")], max_steps=2)
    bundle = read_bundle(next(Path("bundles").glob("*.pt")))
    assert replay_bundle(bundle, trust=True).trace.findings == {}
    bundle["loss_scale"] = 1e39
    assert replay_bundle(bundle, trust=True).trace.origin.frame.phase in (Phase.BACKWARD, Phase.GRADIENT)


class Lean(ForeignRecurrent):
    """Adds an object to the checkpoint that a bundle cannot hold, and needs it back."""

    def on_save_checkpoint(self, checkpoint):
        super().on_save_checkpoint(checkpoint)
        checkpoint["lock"] = object()

    def on_load_checkpoint(self, checkpoint):
        super().on_load_checkpoint(checkpoint)
        assert not isinstance(checkpoint["lock"], str)


class ReadsTrainer(ForeignRecurrent):
    def setup(self, stage):
        self.factor = self.trainer.factor

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * self.factor


class Sized(ForeignRecurrent):
    """Builds a layer of a size that only the run knows."""

    def setup(self, stage):
        self.extra = torch.nn.Linear(self.trainer.width, 1)


def bundle_of(module, monkeypatch, site="input"):
    with monkeypatch.context() as patch:
        for name, value in (("factor", 1.0), ("width", 3)):
            patch.setattr(Trainer, name, value, raising=False)
        fit(module, [FaultInjector(site, float("nan"), at=1), CrashBundle(site)], max_steps=2)
    return read_bundle(next(Path(site).glob("*.pt")))


def test_state_that_could_not_be_saved_is_left_out_and_noted(monkeypatch):
    replay = replay_bundle(bundle_of(Lean(), monkeypatch), trust=True)
    assert replay.notes == [
        "lock, which on_save_checkpoint adds, could not be saved and is left out",
        "on_load_checkpoint fails in the replay (KeyError: 'lock')",
    ]
    assert replay.trace.origin.frame.phase is Phase.BATCH


def test_step_that_fails_is_a_note_after_a_finding_and_an_error_without(monkeypatch):
    bundle = bundle_of(ReadsTrainer(), monkeypatch)
    replay = replay_bundle(bundle, trust=True)
    assert "setup('fit') of the module failed (AttributeError: 'Trainer' object has no attribute" in replay.notes[0]
    assert replay.notes[1].startswith("the step fails in the replay (AttributeError")
    assert replay.trace.origin.frame.phase is Phase.BATCH
    bundle["batches"] = bundle_of(ForeignRecurrent(), monkeypatch, "gradient")["batches"]
    bundle["batches"][0][0].zero_()
    with pytest.raises(ConfigurationError, match=r"ReadsTrainer: the step fails .*setup\('fit'\).*--factory") as error:
        replay_bundle(bundle, trust=True)
    assert "\n" not in str(error.value)


def test_layers_that_cannot_be_built_are_an_error(monkeypatch):
    bundle = bundle_of(Sized(), monkeypatch)
    with pytest.raises(ConfigurationError, match=r"Sized: setup\('fit'\).*parameter extra.bias is missing.*--factory"):
        replay_bundle(bundle, trust=True)


SCRIPT = """
import math
from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, fit
from vestim_pl.callbacks import CrashBundle
class Mine(ForeignRecurrent):
    pass
if __name__ == "__main__":
    fit(Mine(), [FaultInjector("input", math.nan, at=1), CrashBundle("bundles")], max_steps=2)
"""


def test_module_of_the_script_itself(tmp_path):
    Path("train.py").write_text(SCRIPT)
    runpy.run_path("train.py", run_name="__main__")
    path = next(Path("bundles").glob("*.pt"))
    bundle = read_bundle(path)
    assert bundle["module"]["class"] == f"{tmp_path / 'train.py'}:Mine"
    with pytest.raises(ConfigurationError, match="--trust"):
        replay_bundle(bundle)
    path.unlink()
    assert replay_bundle(bundle, trust=True).trace.origin.frame.phase is Phase.BATCH
    assert not path.exists()  # the code under __main__ did not run again


class Packs(ForeignRecurrent):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(2, 1, batch_first=True)

    def forward(self, inputs, state=None):
        packed = nn.utils.rnn.pack_padded_sequence(inputs, torch.full((len(inputs),), 8), batch_first=True)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(self.cell(packed)[0], batch_first=True)
        return outputs[..., 0], outputs[:, -1]


def test_layer_without_time_steps_is_named_as_a_whole_with_a_note(monkeypatch):
    bundle = bundle_of(Packs(), monkeypatch, "parameter")
    assert bundle["summary"]["not_located"] == ""
    replay = replay_bundle(bundle, trust=True)
    frame = replay.trace.findings[Phase.FORWARD].frame
    assert (frame.name, frame.tensor, frame.time, frame.range.index) == ("cell", "output", None, (0, 0))
    why = "it was given a packed sequence"
    assert replay.notes == [f"module cell does not run step by step because {why}; no time step within it is named"]


def test_batch_and_buffer_of_a_tensor_subclass():
    class Own(torch.Tensor):
        pass

    class Wrap(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            batch[0] = batch[0].as_subclass(Own)

    module = ForeignRecurrent()
    module.register_buffer("own", torch.ones(2).as_subclass(Own))
    fit(module, [Wrap(), FaultInjector("input", float("nan"), at=1), CrashBundle("bundles")], max_steps=2)
    bundle = read_bundle(next(Path("bundles").glob("*.pt")))
    assert replay_bundle(bundle, trust=True).trace.origin.frame.phase is Phase.BATCH


TWIN = """
import math
import pytorch_lightning as pl
import torch
from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent
from vestim_pl.callbacks import CrashBundle
class Twin(pl.LightningModule):
    def __init__(self, size):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(2, size)
    def training_step(self, batch, batch_idx):
        self.log("loss", batch[0].mean())
        return self.layer(batch[0]).square().mean() / (1 + self.trainer.current_epoch)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)
    def train_dataloader(self):
        return ForeignRecurrent().train_dataloader()
def build():
    return Twin(3)
if __name__ == "__main__":
    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "max_steps": 2}
    callbacks = [FaultInjector("input", math.nan, at=1), CrashBundle("bundles")]
    pl.Trainer(accelerator="cpu", enable_progress_bar=False, callbacks=callbacks, **options).fit(Twin(3))
"""


def test_module_of_the_other_lightning_package():
    pytest.importorskip("pytorch_lightning")
    Path("twin.py").write_text(TWIN)
    runpy.run_path("twin.py", run_name="__main__")
    bundle = read_bundle(next(Path("bundles").glob("*.pt")))
    for options in ({"trust": True}, {"factory": "twin.py:build"}):
        replay = replay_bundle(bundle, **options)
        assert (replay.trace.origin.frame.phase, replay.notes) == (Phase.BATCH, [])
