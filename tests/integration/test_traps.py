"""Traps of Lightning, torch and Hydra that no other test covers; each would fail silently."""

import re
import tomllib
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from packaging.requirements import Requirement

import vestim_pl.callbacks
from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, fit
from vestim_pl.callbacks import CrashBundle, GradientNormMonitor, StepGuard
from vestim_pl.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_measuring_a_norm_that_is_not_finite_leaves_the_gradient_as_it_is(value):
    """Clipping at infinity, to get the norm, multiplies by inf/inf: every gradient would be NaN."""

    class Gradients(Callback):
        finite: list[int] = []

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            self.finite.append(sum(int(p.grad.isfinite().sum()) for p in pl_module.parameters()))

    gradients = Gradients()
    module = ForeignRecurrent()
    fit(module, [FaultInjector("gradient", value, at=1), GradientNormMonitor(every_n_steps=1), gradients], max_steps=2)
    total = sum(parameter.numel() for parameter in module.parameters())
    assert gradients.finite == [total, total - 1]


def test_clipping_is_the_last_thing_before_the_step_and_callbacks_come_before_the_module():
    """StepGuard decides in on_before_optimizer_step and relies on gradients that are not clipped yet."""
    order: list[str] = []

    class Module(ForeignRecurrent):
        def on_before_optimizer_step(self, optimizer):
            order.append("module")

        def configure_gradient_clipping(self, *args, **kwargs):
            order.append("clip")
            super().configure_gradient_clipping(*args, **kwargs)

        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            optimizer.register_step_post_hook(lambda *args: order.append("step"))
            return optimizer

    class Watcher(Callback):
        def on_after_backward(self, *args):
            order.append("backward")

        def on_before_optimizer_step(self, *args):
            order.append("callback")

        def on_train_batch_end(self, *args):
            order.append("end")

    fit(Module(), [Watcher()], max_steps=1, gradient_clip_val=1.0)
    assert order == ["backward", "callback", "module", "clip", "step", "end"]


@pytest.mark.parametrize("kind", [StepGuard, CrashBundle])
def test_a_fused_optimizer_under_a_scaler_is_refused(kind):
    """A fused optimizer unscales the gradients within its step: callbacks see them multiplied by the loss scale."""

    class FusedAdam(ForeignRecurrent):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), fused=True)

    plugin = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__}: Adam\(fused=True\)"):
        fit(FusedAdam(), [kind()], plugins=[plugin])


def test_no_callback_turns_a_new_run_into_a_resumed_one(tmp_path):
    """With an OnExceptionCheckpoint among the callbacks Lightning resumes from the last file without being asked."""
    assert not [
        name for name in vestim_pl.callbacks.__all__
        if issubclass(getattr(vestim_pl.callbacks, name), OnExceptionCheckpoint)
    ]  # fmt: skip
    for _ in range(2):
        saves = ModelCheckpoint(dirpath=tmp_path, save_last=True, every_n_train_steps=1, enable_version_counter=False)
        trainer = fit(ForeignRecurrent(), [saves, CrashBundle(str(tmp_path / "bundles"))], max_steps=3,
                      enable_checkpointing=True)  # fmt: skip
        assert trainer.global_step == 3
        assert trainer.ckpt_path is None


@pytest.fixture(scope="module")
def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {found.name: found for found in map(Requirement, project["dependencies"])}


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_the_malicious_releases_of_lightning_are_excluded(requirements, version):
    assert version not in requirements["lightning"].specifier
    assert "2.6.4" in requirements["lightning"].specifier


def test_hydra_is_bounded_and_instantiated_in_one_place(requirements):
    """Hydra 1.4 wants a list of allowed targets; a newer release is allowed only after a look at it."""
    assert "1.5.0" not in requirements["hydra-core"].specifier
    calls = [
        path.relative_to(ROOT).as_posix() for path in (ROOT / "vestim_pl").rglob("*.py")
        if re.search(r"^(?!\s*(from|import) ).*\binstantiate\(", path.read_text(), re.MULTILINE)
    ]  # fmt: skip
    assert calls == ["vestim_pl/app/configuration.py"]
