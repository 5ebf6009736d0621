"""What every public callback promises to any Lightning project, tested for all of them by one registry."""

import copy
import pickle
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import vestim_pl.callbacks
from tests.app.test_configuration import compose
from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import RankReport, Recorder, ResumableLoader, fit, leaky_sequences, same, two_processes
from tests.which_lightning import Callback, Checkpoint, LightningModule, ModelCheckpoint, Trainer
from vestim_pl.app.trainer import build_trainer
from vestim_pl.callbacks import (
    AdaptiveGradientClipping,
    AdaptiveLookback,
    CrashBundle,
    DivergenceRecovery,
    EpochSummary,
    EventLog,
    FiniteParameterGuard,
    FlushDenormals,
    GracefulInterrupt,
    GradientFlowProbe,
    GradientNoise,
    GradientNormMonitor,
    KeepFreedMemory,
    LastCheckpoint,
    LearningRateWarmup,
    LookbackWarmup,
    PlateauLearningRate,
    RandomStateCheckpoint,
    StepGuard,
)
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.lightning_support.learning_rate import LearningRateFactors

pytestmark = [
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]
BATCHES, EPOCHS, STOP_AT = 4, 3, 6  # the checkpoint of step 6 is in the middle of the second epoch


def last_steps(batch, steps):
    """Crop of a foreign batch, a list of inputs and target."""
    return [tensor[:, -steps:] for tensor in batch]


# In the order in which a run with ``+preset=resilient`` has them. Each is set so that a training of a few steps makes
# it work.
REGISTRY: dict[str, Callable[[Path], Callback]] = {
    "RandomStateCheckpoint": lambda folder: RandomStateCheckpoint(),
    "CrashBundle": lambda folder: CrashBundle(str(folder / "bundles")),
    "FlushDenormals": lambda folder: FlushDenormals(),
    "KeepFreedMemory": lambda folder: KeepFreedMemory(),
    "EventLog": lambda folder: EventLog(str(folder / "events.jsonl")),
    "GradientNormMonitor": lambda folder: GradientNormMonitor(every_n_steps=1),
    "StepGuard": lambda folder: StepGuard(),
    "FiniteParameterGuard": lambda folder: FiniteParameterGuard(),
    "DivergenceRecovery": lambda folder: DivergenceRecovery(snapshot_every=3, checkpoint_every=1, dirpath=str(folder)),
    "EpochSummary": lambda folder: EpochSummary("train_loss", "val_loss", unit=""),
    "LearningRateWarmup": lambda folder: LearningRateWarmup(9),
    "AdaptiveGradientClipping": lambda folder: AdaptiveGradientClipping(0.5, warmup_steps=3, max_norm=0.5),
    "GradientNoise": lambda folder: GradientNoise(eta=1e-4, seed=3),
    "AdaptiveLookback": lambda folder: AdaptiveLookback(6, 0.9, 2, 4, 4, 1, crop=last_steps),
    "LookbackWarmup": lambda folder: LookbackWarmup(2, 6, epochs=2, crop=last_steps),
    "GradientFlowProbe": lambda folder: GradientFlowProbe([1, 7], folder=str(folder / "flow")),
    "PlateauLearningRate": lambda folder: PlateauLearningRate("val_loss", patience=0, factor=0.5, threshold=0.9),
    "GracefulInterrupt": lambda folder: GracefulInterrupt(str(folder / "interrupted.ckpt")),
    "LastCheckpoint": lambda folder: LastCheckpoint(str(folder / "last.ckpt"), every="2 steps"),
}
NAMES = sorted(REGISTRY)
NOT_IN_RESILIENT = {"AdaptiveLookback"}
AUTOMATIC_ONLY = {
    "AdaptiveLookback",
    "CrashBundle",
    "GradientFlowProbe",
}  # they repeat a training_step, which must not step an optimizer
DRAWS = {"RandomStateCheckpoint", "DivergenceRecovery"}  # the second keeps random states, which the first restores


class Foreign(LightningModule):
    """An LSTM of another project: batches are lists, no hyperparameters are saved, and the names differ from ours."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.rnn, self.head, self.drop = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 1), nn.Dropout(dropout)

    def loss(self, batch):
        x, y = batch
        return nn.functional.mse_loss(self.head(self.drop(self.rnn(x)[0])).squeeze(-1), y)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.02)

    def train_dataloader(self):  # different data on each rank: Lightning adds no sampler to a custom loader
        return ResumableLoader(leaky_sequences(BATCHES * 8, 6, seed=1 + 10 * self.global_rank), batch_size=8)

    def val_dataloader(self):
        return DataLoader(TensorDataset(*leaky_sequences(8, 6, seed=2)), batch_size=8)


class Manual(Foreign):
    """Manual optimization with one optimizer."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()


class TwoOptimizers(Manual):
    """One optimizer for each part of the network."""

    def configure_optimizers(self):
        return [torch.optim.AdamW(self.rnn.parameters(), lr=0.02), torch.optim.SGD(self.head.parameters(), lr=0.02)], []


@pytest.fixture
def make(tmp_path):
    """Build a callback of the registry with a folder of its own, so that two runs do not share files."""
    count = iter(range(100))

    def build(name: str) -> Callback:
        return REGISTRY[name](tmp_path / f"{next(count)}")

    return build


def run(module: LightningModule, callbacks: list[Callback], **options) -> Trainer:
    """Train for a few steps, with a validation at the end of each epoch."""
    saves = any(isinstance(callback, Checkpoint) for callback in callbacks)
    defaults = {"max_epochs": EPOCHS, "limit_val_batches": 1, "enable_checkpointing": saves}
    return fit(module, callbacks, **(defaults | options))


def saving(folder, **options) -> ModelCheckpoint:
    arguments = {"dirpath": folder, "filename": "{step}", "auto_insert_metric_name": False, "every_n_train_steps": 1}
    return ModelCheckpoint(**(arguments | {"save_top_k": -1} | options))


def weights(module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def learned(module: LightningModule) -> bool:
    """Whether the training moved every weight, and to finite numbers."""
    torch.manual_seed(0)
    start = type(module)()
    pairs = zip(module.parameters(), start.parameters(), strict=True)
    return all(bool(torch.isfinite(now).all()) and not torch.equal(now, before) for now, before in pairs)


def fresh(kind: type[LightningModule] = Foreign, **options) -> LightningModule:
    torch.manual_seed(0)
    return kind(**options)


def test_every_public_callback_is_in_the_registry_under_its_own_name(make):
    assert sorted(vestim_pl.callbacks.__all__) == NAMES
    assert all(type(make(name)).__name__ == name for name in NAMES)


def test_the_registry_has_the_order_of_a_composed_run(tmp_path):
    trainer = build_trainer(compose("+preset=resilient", f"run_dir={tmp_path}"))
    composed = [name for callback in trainer.callbacks if (name := type(callback).__name__) in REGISTRY]
    assert composed == [name for name in REGISTRY if name not in NOT_IN_RESILIENT]


@pytest.mark.both_lightnings
@pytest.mark.parametrize("name", NAMES)
def test_foreign_module_learns_with_it_and_is_left_as_it_was(make, name):
    module = fresh()
    before = set(vars(module))
    trainer = run(module, [make(name)])
    assert trainer.global_step == BATCHES * EPOCHS
    assert learned(module)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.02, "a factor stayed in the optimizer"
    assert set(vars(module)) - before <= {"_fabric", "_hparams"}, "something of ours was left in the module"
    assert not module.rnn._forward_hooks
    assert not module.rnn._forward_pre_hooks
    hooks = trainer.optimizers[0]._optimizer_step_post_hooks.values()
    owners = {type(getattr(hook, "__self__", None)).__module__ for hook in hooks}
    assert owners <= {LearningRateFactors.__module__}, "a hook was left"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [Manual, TwoOptimizers])
def test_manual_optimization_works_or_is_refused_with_a_message(make, name, kind):
    module = fresh(kind)
    if name in AUTOMATIC_ONLY:
        with pytest.raises(ConfigurationError, match=rf"{name}: {kind.__name__} optimizes manually"):
            run(module, [make(name)])
    else:
        run(module, [make(name)])
        assert learned(module)


@pytest.mark.parametrize("name", NAMES)
def test_accumulated_batches_make_one_step(make, name):
    module = fresh()
    trainer = run(module, [make(name)], accumulate_grad_batches=2)
    assert trainer.global_step == BATCHES * EPOCHS // 2
    assert learned(module)


@pytest.mark.parametrize("name", NAMES)
def test_fast_dev_run_leaves_nothing_on_disk(make, name, tmp_path):
    run(fresh(), [make(name)], fast_dev_run=True)
    written = [path for path in tmp_path.rglob("*") if path.suffix in {".ckpt", ".jsonl", ".pt", ".pending"}]
    assert written == []


@pytest.mark.parametrize("name", NAMES)
def test_sanity_check_changes_nothing(make, name):
    with_check, without = fresh(), fresh()
    run(with_check, [make("RandomStateCheckpoint"), make(name)], num_sanity_val_steps=1)
    run(without, [make("RandomStateCheckpoint"), make(name)], num_sanity_val_steps=0)
    assert same(weights(with_check), weights(without))


@pytest.mark.parametrize("name", NAMES)
def test_checkpoint_written_without_it_resumes_with_it(make, name, tmp_path):
    run(fresh(), [saving(tmp_path / "saved")], max_steps=STOP_AT)
    module = fresh()
    trainer = run(module, [make(name)], ckpt_path=tmp_path / "saved" / f"{STOP_AT}.ckpt")
    assert trainer.global_step == BATCHES * EPOCHS
    assert learned(module)


@pytest.mark.parametrize("name", NAMES)
def test_checkpoint_written_with_it_resumes_without_it(make, name, tmp_path):
    run(fresh(), [make(name), saving(tmp_path / "saved")], max_steps=STOP_AT)
    trainer = run(fresh(), [], ckpt_path=tmp_path / "saved" / f"{STOP_AT}.ckpt")
    assert trainer.global_step == BATCHES * EPOCHS


@pytest.mark.parametrize("name", NAMES)
def test_its_state_is_plain_and_a_new_one_loads_it(make, name, tmp_path):
    run(fresh(), [make(name), saving(tmp_path / "saved")], max_steps=STOP_AT)
    checkpoint = torch.load(tmp_path / "saved" / f"{STOP_AT}.ckpt", weights_only=True)
    other = make(name)
    other.load_state_dict({})  # of an older version
    if other.state_key in checkpoint["callbacks"]:
        state = checkpoint["callbacks"][other.state_key]
        other.load_state_dict(copy.deepcopy(state))
        assert same(other.state_dict(), state)


@pytest.mark.both_lightnings
@pytest.mark.parametrize("name", [*NAMES, "all"])
def test_resumed_in_mid_epoch_equals_never_stopped(make, name, tmp_path):
    names = list(REGISTRY) if name == "all" else sorted(DRAWS) if name in DRAWS else [name]
    dropout = 0.3 if DRAWS & set(names) else 0.0
    whole, parts = fresh(dropout=dropout), fresh(dropout=dropout)
    first, second = ([make(name) for name in names] for _ in range(2))
    saved = tmp_path / "saved"
    unbroken = run(whole, [*first, saving(saved)])
    torch.manual_seed(999)
    resumed = run(parts, [*second, saving(tmp_path / "other")], ckpt_path=saved / f"{STOP_AT}.ckpt")
    assert unbroken.global_step == resumed.global_step
    assert same(weights(whole), weights(parts))
    assert same(unbroken.optimizers[0].state_dict(), resumed.optimizers[0].state_dict())
    for a, b in zip(first, second, strict=True):
        assert same(a.state_dict(), b.state_dict()), type(a).__name__


@pytest.mark.both_lightnings
@pytest.mark.parametrize(("site", "kind"), [("parameter", "rollback"), ("input", "skip")])
def test_stopped_after_a_rollback_or_a_skip_and_resumed_equals_never_stopped(tmp_path, site, kind):
    def callbacks(folder):
        made = [build(tmp_path / folder / name) for name, build in REGISTRY.items()]
        return [FaultInjector(site, float("nan"), STOP_AT - 1), *made, Recorder(), saving(tmp_path / folder / "saved")]

    whole, parts = fresh(dropout=0.3), fresh(dropout=0.3)
    first, second = callbacks("whole"), callbacks("parts")
    run(whole, first)
    torch.manual_seed(999)
    run(parts, second, ckpt_path=tmp_path / "whole" / "saved" / f"{STOP_AT}.ckpt")
    assert same(weights(whole), weights(parts))
    for a, b in zip(first[1:-2], second[1:-2], strict=True):
        assert same(a.state_dict(), b.state_dict()), type(a).__name__
    published, rest = (
        [(event.kind, event.step, event.reason) for event in each[-2].events] for each in (first, second)
    )
    at = [event[0] for event in published].index(kind)
    assert published[at][1] <= STOP_AT
    rest = [event for event in rest if event[0] not in ("resume", "flush_denormals")]  # published at every start
    assert rest
    assert kind not in {event[0] for event in rest}
    assert rest == published[len(published) - len(rest) :]


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_pickled_before_and_after_a_run(make, name):
    callback = make(name)
    for _ in range(2):
        for other in (pickle.loads(pickle.dumps(callback)), copy.deepcopy(callback)):
            assert same(other.state_dict(), callback.state_dict())
        run(fresh(), [callback], max_epochs=1)


@pytest.mark.parametrize("name", [*NAMES, "all"])
def test_a_second_training_with_the_same_objects_begins_anew(name, tmp_path):
    """As in cross-validation, or in a sweep within one process: nothing of the first training is left in them."""
    names = list(REGISTRY) if name == "all" else [name]
    used, new = ([REGISTRY[each](tmp_path / kind / each) for each in names] for kind in ("used", "new"))
    with suppress(DivergenceError):  # most callbacks have something to count and to report in such a training
        run(fresh(), [FaultInjector("input", float("nan"), 9), *used])
    for path in (tmp_path / "used").rglob("*.*"):
        path.unlink()

    def observed(callbacks):
        module, recorder = fresh(), Recorder()
        trainer = run(module, [FaultInjector("loss", 3.0, 6), *callbacks, recorder])
        states = [callback.state_dict() for callback in callbacks]
        metrics = {key: value for key, value in trainer.callback_metrics.items() if not key.startswith("epoch/")}
        events = [(event.kind, event.step, re.sub(r"\S*/\S*", "PATH", event.reason)) for event in recorder.events]
        return weights(module), states, metrics, events

    again, first = observed(used), observed(new)
    for kind, of_second, of_first in zip(("weights", "states", "metrics", "events"), again, first, strict=True):
        assert same(of_second, of_first), kind


def test_all_of_them_on_two_processes_keep_the_ranks_alike(tmp_path):
    callbacks: list[Callback] = [FaultInjector("input", float("nan"), STOP_AT, rank=1)]
    callbacks += [build(tmp_path / name) for name, build in REGISTRY.items()]
    callbacks += [Recorder(), RankReport(tmp_path)]
    run(fresh(), callbacks, strategy=two_processes(), devices=2, max_epochs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert len(first["history"]) == 2 * BATCHES
    assert same(first["history"], second["history"])
    assert first["kinds"] == second["kinds"]
    assert "skip" in first["kinds"]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in first["weights"])
    lines = (tmp_path / "EventLog" / "events.jsonl").read_text().splitlines()
    assert len(lines) == len(first["kinds"]) > 0, "an event was written by both processes, or by none"
