"""Trouble with a bundle never ends the training, and the report claims only what is known."""

import json
import math
import threading
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, Recorder, ResumableLoader, fit, leaky_sequences
from vestim_pl.callbacks import CrashBundle, FiniteParameterGuard, StepGuard
from vestim_pl.callbacks.crash_bundle.recording import StepWindow
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.replay import main

NAN, INF = math.nan, math.inf
SKIPS = ([], [StepGuard])


class Net(LightningModule):
    """One layer; subclasses change ``build`` and ``loss``."""

    def __init__(self, **hparams):
        super().__init__()
        self.save_hyperparameters(hparams)
        self.net = nn.Linear(2, 1)
        self.build()

    def build(self):
        pass

    def loss(self, inputs, target):
        return (self.net(inputs)[..., 0] - target).square().mean() * self.hparams.get("scale", 1.0)

    def training_step(self, batch, batch_idx):
        return self.loss(*batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def train_dataloader(self):
        return ResumableLoader(leaky_sequences(24, 6, seed=1), batch_size=4)


class InPlace(Net):
    """Standardises its batch in place; a constant column divides zero by zero."""

    def loss(self, inputs, target):
        inputs.sub_(inputs.mean((0, 1))).div_(inputs.std((0, 1)))
        return super().loss(inputs, target)


class Locked(Net):
    """Cannot be copied."""

    def build(self):
        self.lock = threading.Lock()


class Buffered(Net):
    """Divides by a buffer, and has a mask that is infinite by design."""

    def build(self):
        self.register_buffer("std", torch.ones(2))
        self.register_buffer("mask", torch.tensor([-INF, 0.0]))

    def loss(self, inputs, target):
        return super().loss(inputs / self.std, target)


class Huge(Net):
    """Finite gradients whose norm is not."""

    def loss(self, inputs, target):
        return self.net(inputs).mean() * 1e25


class At(Callback):
    """Runs an action before one batch."""

    def __init__(self, batch, action):
        self.batch, self.action = batch, action

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == self.batch:
            self.action(pl_module, batch)


def constant_column(module, batch):
    batch[0][..., 1] = 1.0


def nan_input(module, batch):
    batch[0][0, 0, 0] = NAN


def run(module, *callbacks, guards=(), folder="bundles", **options):
    torch.manual_seed(0)
    recorder = Recorder()
    bundle = CrashBundle(folder, **options.pop("bundle", {}))
    everything = [*callbacks, bundle, *(guard() for guard in guards), recorder]
    fit(module, everything, **options)
    return recorder, recorder.of("bundle"), sorted(Path(folder).glob("*.pt"))


def summary_of(path):
    return json.loads(path.with_suffix(".json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("guards", SKIPS)
def test_step_that_changes_its_batch_in_place_is_reported(guards):
    recorder, events, _ = run(InPlace(), At(2, constant_column), guards=guards, bundle={"max_bundles": 1})
    assert len(recorder.weights) == 6
    assert events[0].values["cause"] == "batch"
    assert summary_of(Path(events[0].values["path"]))["not_located"] == ""


@pytest.mark.parametrize("guards", SKIPS)
def test_step_that_cannot_run_again_is_not_called_finite(guards):
    def huge_target(module, batch):
        batch[1].fill_(1e30)

    _, events, paths = run(Locked(), At(2, huge_target), guards=guards, bundle={"max_bundles": 1})
    finding = events[0].values["finding"]
    assert finding == (
        "the loss of batch 2 is inf; not located within the step: TypeError: cannot pickle '_thread.lock' object"
    )
    assert summary_of(paths[0])["finding"] == finding
    assert "lock" in summary_of(paths[0])["not_located"]


def test_buffer_that_is_not_finite_is_named_but_a_mask_is_not():
    _, events, _ = run(Buffered(), At(2, lambda m, b: m.std.__setitem__(1, NAN)), bundle={"max_bundles": 1})
    assert events[0].values["cause"] == "parameter"
    assert events[0].values["finding"].startswith("buffer std is already nan at [1] before the step; first effect: ")


def test_carried_state_that_is_not_finite_is_named():
    module = ForeignRecurrent(carry=True)
    _, events, _ = run(module, At(2, lambda m, b: m.carried.__setitem__((1, 3), NAN)), bundle={"max_bundles": 1})
    assert events[0].values["finding"].startswith("carried state carried is already nan at [1, 3] before the step;")


@pytest.mark.parametrize("guards", SKIPS)
def test_norm_that_overflows_names_the_largest_gradient(guards):
    _, events, paths = run(Huge(), guards=guards, bundle={"max_bundles": 1}, max_steps=1)
    assert events[0].values["cause"] == "gradient"
    assert "parameter net.bias has the largest gradient, 1e+25; every gradient is finite" in events[0].values["finding"]
    assert summary_of(paths[0])["finding"] == events[0].values["finding"]
    assert summary_of(paths[0])["findings"] == {}  # non-finite tensors only


def test_hyperparameters_that_json_cannot_hold():
    recorder, _, paths = run(Net(weights={(0, 1): INF}), At(2, nan_input))
    assert len(recorder.weights) == 6
    assert summary_of(paths[0])["hparams"] == {"weights": {"(0, 1)": "Infinity"}}


@pytest.mark.parametrize("guards", SKIPS)
def test_full_disk_is_reported_with_the_finding(guards, monkeypatch):
    def full(content, path):
        Path(path).write_bytes(b"torn")
        raise RuntimeError("PytorchStreamWriter failed writing file: file write failed")

    monkeypatch.setattr("torch.save", full)
    recorder, events, _ = run(Net(), At(2, nan_input), guards=guards, bundle={"max_bundles": 1})
    assert len(recorder.weights) == 6
    assert len(events) == 1
    assert "field 0 of the batch holds nan at [0, 0, 0]" in events[0].reason
    assert "no bundle: bundles/epoch_0000-batch_000002.pt: cannot be written: torch failed" in events[0].reason
    assert events[0].values["path"] == events[0].values["replay"] == ""
    assert list(Path("bundles").iterdir()) == []


def test_folder_that_cannot_be_written_is_reported_with_the_finding():
    Path("file").write_text("")
    recorder, events, _ = run(Net(), At(2, nan_input), folder="file", bundle={"max_bundles": 1})
    assert len(recorder.weights) == 6
    assert events[0].values["cause"] == "batch"
    assert "field 0 of the batch holds nan" in events[0].reason
    assert "file is a file, not a folder; choose another folder" in events[0].reason


@pytest.mark.parametrize("options", [{"max_megabytes": 1e-5}, {}])
def test_faults_beyond_max_bundles_are_not_examined_and_the_last_event_says_so(options, monkeypatch):
    copies = []
    monkeypatch.setattr(StepWindow, "random_states", lambda self: copies.append(1) or [{}])
    options = options | {"max_bundles": 2}
    _, events, paths = run(Net(), FaultInjector("input", NAN, at=1, persistent=True), bundle=options)
    assert len(events) == 2
    assert "max_bundles" not in events[0].reason
    assert "; the last of max_bundles=2; " in events[1].reason
    assert len(paths) == (0 if "max_megabytes" in options else 2)
    assert ("MB are over max_megabytes=1e-05" in events[0].reason) is ("max_megabytes" in options)
    assert len(copies) == 2 * 2  # two faults, each with a second run and a bundle


def test_second_training_keeps_the_bundles_of_the_first():
    for _ in range(2):
        _, events, paths = run(Net(), At(2, nan_input), bundle={"max_bundles": 1})
    assert [path.name for path in paths] == ["epoch_0000-batch_000002-2.pt", "epoch_0000-batch_000002.pt"]
    assert events[0].values["path"].endswith("-2.pt")
    assert events[0].values["replay"].endswith("-2.pt")


def test_lbfgs_is_refused():
    class Many(Net):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters())

    with pytest.raises(ConfigurationError, match="CrashBundle: LBFGS evaluates several losses a step"):
        run(Many())


def test_second_call_of_the_closure_is_harmless():
    class Twice(torch.optim.SGD):
        def step(self, closure):
            closure()
            return super().step(closure)

    class Many(Net):
        def configure_optimizers(self):
            return Twice(self.parameters(), lr=0.01)

    recorder, events, _ = run(Many(), At(2, nan_input), bundle={"max_bundles": 1})
    assert len(recorder.weights) == 6
    assert len(events) == 1


@pytest.mark.parametrize("guards", [[FiniteParameterGuard], [StepGuard, FiniteParameterGuard]])
def test_line_after_non_finite_weights_says_only_where_the_bundle_is(guards):
    def huge_rate(module, batch):
        module.optimizers().param_groups[0]["lr"] = 1e38

    with pytest.raises(DivergenceError):
        run(Net(scale=1e3), At(2, huge_rate), recorder := Recorder(), guards=guards)
    assert [event.kind for event in recorder.events] == ["non_finite", "bundle"]
    bundle = recorder.events[1]
    assert bundle.reason.startswith("epoch 0, batch 2: to replay the step: ")
    assert bundle.values["cause"] == "update"


@pytest.mark.parametrize("guards", [[], [StepGuard, FiniteParameterGuard]])
def test_recorded_reason_names_epoch_and_batch_once(guards, capsys):
    _, _, paths = run(Net(), At(2, nan_input), guards=guards)
    main([str(paths[0]), "--trust"])
    assert capsys.readouterr().out.count("epoch 0, batch 2") == 1
