import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.demos.boring_classes import ManualOptimBoringModel
from lightning.pytorch.plugins import MixedPrecision
from torch import nn

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, Recorder, ResumableLoader, fit, leaky_sequences, same
from tests.pairs import pairwise
from vestim_pl.callbacks import CrashBundle, DivergenceRecovery, EventLog, FiniteParameterGuard, StepGuard
from vestim_pl.callbacks.crash_bundle.reading import read_bundle
from vestim_pl.callbacks.crash_bundle.replaying import replay_bundle
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.lightning_support.events import read_events
from vestim_pl.lightning_support.step_trace import Phase
from vestim_pl.settings.command_line import command_line

NAN, INF = math.nan, math.inf
PHASES = {
    "input": Phase.BATCH,
    "target": Phase.BATCH,
    "activation": Phase.FORWARD,
    "loss": Phase.LOSS,
    "gradient": Phase.GRADIENT,
    "parameter": Phase.PARAMETER,
}


class Fused(LightningModule):
    """Two fused recurrent layers, dropout, batch norm and noise from Python's and numpy's generators."""

    def __init__(self, kind="LSTM", lr=0.01, momentum=0.9, loss_factor=1.0):
        super().__init__()
        self.save_hyperparameters()
        self.first = {"LSTM": nn.LSTM, "GRU": nn.GRU}[kind](2, 6, batch_first=True)
        self.second = nn.LSTM(6, 4, batch_first=True)
        self.drop, self.norm = nn.Dropout(0.3), nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        output = self.drop(self.second(self.first(batch[0])[0])[0])
        estimate = self.head(self.norm(output[:, -1])).squeeze(-1)
        noise = 1 + 0.01 * random.random() + 0.01 * np.random.rand()  # noqa: NPY002
        return (estimate - batch[1][:, -1]).square().mean() * noise * self.hparams.loss_factor

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=self.hparams.momentum)

    def train_dataloader(self):
        return ResumableLoader(leaky_sequences(32, 12, seed=1), batch_size=4)


class Masked(Fused):
    """Has a frozen parameter that is infinite by design."""

    def __init__(self, **options):
        super().__init__(**options)
        self.mask = nn.Parameter(torch.tensor(-INF), requires_grad=False)


class At(Callback):
    """Runs an action before one step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            self.action(trainer, pl_module, batch)


class Draws(Callback):
    """Draws random numbers after the backward pass."""

    def on_after_backward(self, trainer, pl_module):
        torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002


def run(*callbacks, module=None, folder="bundles", error=None, **options):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    recorder, bundle = Recorder(), CrashBundle(folder=folder, **options.pop("bundle", {}))
    everything = [callback for callback in callbacks if isinstance(callback, FaultInjector | At)]
    everything += [bundle, *(callback for callback in callbacks if callback not in everything), recorder]
    module = module or ForeignRecurrent()
    if error is None:
        fit(module, everything, **options)
    else:
        with pytest.raises(error):
            fit(module, everything, **options)
    return recorder, sorted(Path(folder).glob("*.pt")), bundle


def first_of(recorder):
    return recorder.of("bundle")[0]


def recorded(path):
    return read_bundle(path)["summary"]["findings"]


@pytest.mark.parametrize(
    ("site", "value", "guard", "accumulate"), pairwise(PHASES, [NAN, INF, -INF], [None, StepGuard], [1, 2])
)
def test_bundle_names_the_site_of_an_injected_fault(site, value, guard, accumulate):
    module = Fused() if site == "parameter" else ForeignRecurrent()
    guards = [guard()] if guard else []
    recorder, paths, _ = run(
        FaultInjector(site, value, at=4), *guards, module=module, max_steps=6, accumulate_grad_batches=accumulate,
        error=DivergenceError if guard and site == "parameter" and math.isnan(value) else None,
        bundle={"max_bundles": 1},
    )  # fmt: skip
    event = first_of(recorder)
    assert event.values["cause"] == PHASES[site].value
    assert len(paths) == 1
    frame = recorded(paths[0])[PHASES[site].value]["frame"]
    assert frame["range"]["value"] in ("nan", str(value))
    first, last = [0] * len(frame["range"]["index"]), [15, 7]  # of 16 lanes of 8 steps
    assert frame["range"]["index"] == (last if site == "target" else first)
    name = {"input": "0", "target": "1", "activation": "head", "loss": "of batch 4", "gradient": "cell.weight"}
    expected = name.get(site, "first.weight_ih_l0")
    assert frame["name"].endswith(expected)
    assert "4" in event.reason


@pytest.mark.parametrize("site", list(PHASES))
def test_bundle_with_guards_equals_the_bundle_without(site):
    paths = []
    for folder, guards in (("alone", []), ("guarded", [StepGuard(), FiniteParameterGuard(), DivergenceRecovery()])):
        torch.manual_seed(1)
        module, injector = Fused() if site == "parameter" else ForeignRecurrent(), FaultInjector(site, NAN, at=4)
        paths += run(injector, *guards, module=module, folder=folder, max_steps=5, bundle={"max_bundles": 1})[1]
    alone, guarded = map(read_bundle, paths)
    assert guarded["summary"]["finding"] == alone["summary"]["finding"]
    for name, tensor in alone["parameters"].items():
        assert torch.equal(guarded["parameters"][name].nan_to_num(), tensor.nan_to_num())
    assert torch.equal(guarded["random"][0]["torch"], alone["random"][0]["torch"])


@pytest.mark.parametrize("site", ["input", "target", "parameter"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_fault_within_the_step_replays(site, kind):
    _, paths, _ = run(FaultInjector(site, NAN, at=4), module=Fused(kind), max_steps=5, bundle={"max_bundles": 1})
    replay = replay_bundle(read_bundle(paths[0]), trust=True)
    assert replay.notes == []
    assert replay.trace.origin.frame.phase is PHASES[site]
    assert {phase.value for phase in replay.trace.findings} >= set(recorded(paths[0])) - {"update"}


@pytest.mark.parametrize("site", ["activation", "loss", "gradient"])
def test_fault_from_outside_does_not_replay_but_is_recorded(site):
    recorder, paths, _ = run(FaultInjector(site, NAN, at=4), max_steps=5, bundle={"max_bundles": 1})
    assert replay_bundle(read_bundle(paths[0]), trust=True).trace.findings == {}
    assert first_of(recorder).values["cause"] in ("forward", "loss", "gradient")


def set_input(lane, step, feature, value=NAN):
    return lambda trainer, module, batch: batch[0].__setitem__((lane, step, feature), value)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("step", [0, 7, 11])
def test_replay_names_layer_time_step_and_tensor(kind, step):
    _, paths, _ = run(At(3, set_input(2, step, 1)), module=Fused(kind), max_steps=4)
    findings = replay_bundle(read_bundle(paths[0]), trust=True).trace.findings
    batch, forward = findings[Phase.BATCH].frame, findings[Phase.FORWARD].frame
    assert (batch.name, batch.range.index) == ("0", (2, step, 1))
    assert (forward.name, forward.tensor, forward.time) == ("first", "input", step)
    assert forward.range.index == (2, 1)
    if step:
        before = findings[Phase.FORWARD].history[-1]
        assert (before.name, before.tensor, before.time) == ("first", "hidden", step - 1)
        assert 0 < before.range.largest < 1


def test_huge_weight_is_found_in_the_gate_that_overflows():
    def enlarge(trainer, module, batch):
        with torch.no_grad():
            module.first.weight_ih_l0[6:12] = 1e37  # the forget gate
            batch[0][:, 5] = 40.0
            batch[0][:, 5, 1] = 0.0
            module.head.weight.fill_(INF)  # so that the step is noticed

    _, paths, _ = run(At(3, enlarge), module=Fused(), max_steps=4, bundle={"ring": 200})
    frame = replay_bundle(read_bundle(paths[0]), trust=True).trace.findings[Phase.FORWARD].frame
    assert (frame.name, frame.tensor, frame.time) == ("first", "forget gate pre-activation", 5)


@pytest.mark.parametrize(
    "guards",
    [
        (),
        (FiniteParameterGuard,),
        (StepGuard, FiniteParameterGuard),
        (StepGuard, FiniteParameterGuard, DivergenceRecovery),
    ],
)
def test_update_that_overflows_is_found_and_replays_from_the_weights_before(guards):
    module = Fused(lr=1e38, loss_factor=1e3)
    error = DivergenceError if guards and DivergenceRecovery not in guards else None
    recorder, paths, _ = run(*(guard() for guard in guards), module=module, max_steps=1, error=error)
    assert len(recorder.of("bundle")) == 1
    assert first_of(recorder).values["cause"] == "update"
    bundle = read_bundle(paths[0])
    assert all(torch.isfinite(tensor).all() for tensor in bundle["parameters"].values())
    replay = replay_bundle(bundle, trust=True)
    assert list(replay.trace.findings) == [Phase.UPDATE]


def test_optimizer_state_that_is_not_finite_is_named_live_and_in_the_replay():
    def break_moment(trainer, module, batch):
        trainer.optimizers[0].state[module.first.bias_hh_l0]["momentum_buffer"][2] = NAN

    recorder, paths, _ = run(At(3, break_moment), module=Fused(), max_steps=4)
    text = "optimizer's momentum_buffer of first.bias_hh_l0 is already nan at [2] before the step"
    assert text in first_of(recorder).reason
    frame = replay_bundle(read_bundle(paths[0]), trust=True).trace.origin.frame
    assert (frame.name, frame.tensor) == ("first.bias_hh_l0", "optimizer's momentum_buffer")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_replay_computes_the_gradients_of_the_run(accumulate):
    class Gradients(Callback):
        def __init__(self):
            self.norms = {}

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            self.norms = {name: p.grad.abs().max().item() for name, p in pl_module.named_parameters()}

    module, gradients = Fused(lr=1e38, loss_factor=1e3, momentum=0.0), Gradients()
    _, paths, _ = run(gradients, module=module, max_steps=1, accumulate_grad_batches=accumulate, bundle={"ring": 500})
    history = replay_bundle(read_bundle(paths[0]), trust=True, ring=500).trace.findings[Phase.UPDATE].history
    replayed = {frame.name: frame.range.largest for frame in history if frame.phase is Phase.GRADIENT}
    assert replayed == pytest.approx(gradients.norms, rel=1e-4)


def test_moments_before_the_step_are_in_the_bundle():
    states = []

    class Moments(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            states.append([trainer.optimizers[0].state[p]["momentum_buffer"].clone() for p in pl_module.parameters()])

    module = Fused(loss_factor=1e3, lr=1e-5)
    _, paths, _ = run(
        Moments(), At(3, lambda trainer, m, b: trainer.optimizers[0].param_groups[0].update(lr=1e38)),
        module=module, max_steps=4,
    )  # fmt: skip
    saved = read_bundle(paths[0])["optimizer"]["state"]
    for (name, _), expected in zip(module.named_parameters(), states[2], strict=True):
        assert torch.equal(saved[name]["momentum_buffer"], expected)


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}])
def test_training_is_bitwise_the_same_with_and_without(options):
    torch.manual_seed(0)
    plain, bundled = Recorder(), None
    fit(ForeignRecurrent(carry=True), [plain], max_steps=8, **options)
    torch.manual_seed(0)
    bundled = Recorder()
    fit(ForeignRecurrent(carry=True), [CrashBundle(folder="bundles"), bundled], max_steps=8, **options)
    assert same(plain.weights, bundled.weights)
    assert same(plain.moments, bundled.moments)
    assert not Path("bundles").exists()


@pytest.mark.parametrize("site", ["activation", "gradient"])
@pytest.mark.parametrize("build", [lambda: ForeignRecurrent(carry=True), Fused])
def test_locating_the_fault_does_not_change_the_run(build, site):
    def go(*callbacks):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        recorder, module = Recorder(), build()
        injector = FaultInjector(site, NAN, at=4)
        fit(module, [injector, Draws(), *callbacks, StepGuard(), recorder], max_steps=8)
        return recorder, torch.get_rng_state(), random.getstate(), getattr(module, "losses", [])

    plain, watched = go(), go(CrashBundle(folder="bundles"))
    assert len(watched[0].of("bundle")) == 1
    assert same(plain[0].weights, watched[0].weights)
    assert same(plain[0].moments, watched[0].moments)
    assert torch.equal(plain[1], watched[1])
    assert plain[2] == watched[2]
    assert plain[3][:4] == watched[3][:4]
    assert len(plain[3]) == len(watched[3])


def test_carried_state_before_the_step_is_in_the_bundle():
    module = ForeignRecurrent(carry=True)
    kept = {}
    _, paths, _ = run(
        At(4, lambda trainer, m, batch: (kept.update(state=m.carried.clone()), set_input(0, 0, 0)(trainer, m, batch))),
        StepGuard(), module=module, max_steps=6, max_epochs=1,
    )  # fmt: skip
    assert torch.equal(read_bundle(paths[0])["extras"]["carried"], kept["state"])


def test_json_beside_the_bundle_holds_the_summary():
    recorder, paths, _ = run(FaultInjector("input", NAN, at=2), module=Fused(), max_steps=3, bundle={"max_bundles": 1})
    summary = json.loads(paths[0].with_suffix(".json").read_text())
    assert summary["reason"] == "the loss is nan"
    assert summary["cause"] == "batch"
    assert summary["finding"].startswith("field 0 of the batch holds nan at [0, 0, 0]; first effect: module first")
    assert summary["hparams"]["kind"] == "LSTM"
    assert summary["learning_rates"] == [0.01]
    assert {"torch", "lightning", "vestim_pl", "python"} <= set(summary["versions"])
    assert summary["replay"].endswith(str(paths[0]))
    assert paths[0].name == "epoch_0000-batch_000002.pt"
    assert recorder.of("bundle")[0].values["path"] == str(paths[0])


def test_overflow_that_the_scaler_handles_makes_no_bundle():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    recorder, paths, _ = run(
        FaultInjector("gradient", INF, at=2), max_steps=5, plugins=[MixedPrecision("16-mixed", "cpu", scaler)]
    )
    assert paths == []
    assert not recorder.of("bundle")


@pytest.mark.parametrize("site", ["input", "parameter"])
def test_half_precision_with_a_scaler(site):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    _, paths, _ = run(
        FaultInjector(site, NAN, at=2), max_steps=3, plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
        bundle={"max_bundles": 1},
    )  # fmt: skip
    bundle = read_bundle(paths[0])
    assert bundle["precision"] == "16-mixed"
    assert bundle["loss_scale"] == 2.0**10
    assert replay_bundle(bundle, trust=True).trace.origin.frame.phase is PHASES[site]


def test_frozen_infinite_mask_is_neither_a_fault_nor_a_finding():
    recorder, paths, _ = run(At(3, set_input(0, 0, 0)), module=Masked(), max_steps=4)
    assert len(paths) == len(recorder.of("bundle")) == 1
    assert first_of(recorder).values["cause"] == "batch"
    assert replay_bundle(read_bundle(paths[0]), trust=True).trace.origin.frame.phase is Phase.BATCH


def test_bad_weights_within_a_window_make_a_bundle_before_the_rollback():
    recorder, paths, _ = run(
        FaultInjector("parameter", INF, at=4), DivergenceRecovery(), max_steps=6, accumulate_grad_batches=2
    )
    assert [event.kind for event in recorder.events] == ["bundle", "rollback"]
    assert first_of(recorder).values["cause"] == "parameter"
    assert replay_bundle(read_bundle(paths[0]), trust=True).trace.origin.frame.name == "cell.weight"


def test_recovery_before_it_is_refused():
    with pytest.raises(ConfigurationError, match="put CrashBundle before DivergenceRecovery"):
        fit(ForeignRecurrent(), [DivergenceRecovery(), CrashBundle()])


def test_skip_of_a_guard_placed_before_it_makes_a_bundle():
    torch.manual_seed(0)
    recorder = Recorder()
    fit(ForeignRecurrent(), [FaultInjector("gradient", NAN, at=2), StepGuard(), CrashBundle("bundles"), recorder])
    assert len(recorder.of("bundle")) == 1
    assert "cell.weight" in read_bundle(Path(first_of(recorder).values["path"]))["summary"]["reason"]


@pytest.mark.parametrize("site", ["input", "loss", "gradient"])
def test_line_after_a_skip_says_only_where_the_bundle_is(site):
    recorder, paths, _ = run(FaultInjector(site, NAN, at=4), StepGuard(), max_steps=6)
    assert [event.kind for event in recorder.events] == ["skip", "bundle"]
    reason = recorder.events[1].reason
    assert reason == f"epoch 0, batch 4: to replay the step: {command_line('vestim_pl.replay', str(paths[0]))}"


def test_line_without_a_guard_says_what_went_wrong():
    recorder, _, _ = run(FaultInjector("input", NAN, at=4), max_steps=6)
    assert "batch 4: the loss is nan: field 0 of the batch holds nan at [0, 0, 0]; " in first_of(recorder).reason


def test_bundle_of_the_last_step_is_reported():
    recorder, paths, _ = run(FaultInjector("input", NAN, at=4), StepGuard(0, 0), max_steps=6, error=DivergenceError)
    assert [event.kind for event in recorder.events] == ["skip", "bundle"]
    assert len(paths) == 1


class RaisesAtNan(ForeignRecurrent):
    """Ends the training itself at a NaN, as models of neuralforecast do; and at batch 2 for another reason."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if torch.isnan(loss):
            raise RuntimeError("Loss is NaN, training stopped.")
        if batch_idx == 2 and batch[0].abs().max() > 100:
            raise ValueError("what is this?")
        return loss


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize(("site", "field"), [("input", "0 of the batch"), ("activation", "module head")])
def test_step_that_raises_an_error_of_its_own_at_a_nan_gets_a_bundle(site, field, accumulate):
    fault = FaultInjector(site, NAN, at=5)
    recorder, paths, _ = run(fault, module=RaisesAtNan(), accumulate_grad_batches=accumulate, error=RuntimeError)
    (event,) = recorder.of("bundle")
    assert "the step raised RuntimeError: Loss is NaN, training stopped." in event.reason
    assert field in event.values["finding"]
    assert len(paths) == 1
    assert len(read_bundle(paths[0])["batches"]) == (1 if accumulate == 1 else 2)


def test_step_that_raises_an_error_without_a_nan_gets_none():
    fault = FaultInjector("input", 1e3, at=2)
    recorder, paths, _ = run(fault, module=RaisesAtNan(), error=ValueError)
    assert recorder.of("bundle") == paths == []


def test_manual_optimization_is_refused():
    with pytest.raises(ConfigurationError, match="ManualOptimBoringModel optimizes manually"):
        fit(ManualOptimBoringModel(), [CrashBundle()])


@pytest.mark.parametrize("options", [{"max_bundles": 0}, {"max_megabytes": -1.0}, {"ring": 0}])
def test_bad_argument_is_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        CrashBundle(**options)


def test_number_of_bundles_survives_a_resume(tmp_path):
    _, _, bundle = run(FaultInjector("input", NAN, at=2), max_steps=4, bundle={"max_bundles": 1})
    again = CrashBundle(max_bundles=1)
    again.load_state_dict(bundle.state_dict())
    assert again.written == 1
    again.load_state_dict({})
    assert again.written == 0


@pytest.mark.slow
@pytest.mark.parametrize("guards", [[], [StepGuard]])
def test_rank_with_the_bad_loss_writes_its_batch_and_all_ranks_report_it(tmp_path, guards):
    torch.manual_seed(0)
    injector, log = FaultInjector("input", NAN, at=2, rank=1), tmp_path / "events.jsonl"
    callbacks = [injector, CrashBundle(max_bundles=1), *(guard() for guard in guards), EventLog(str(log))]
    fit(ForeignRecurrent(), callbacks, strategy="ddp_spawn", devices=2, max_steps=4, default_root_dir=tmp_path)
    path = tmp_path / "bundles" / "epoch_0000-batch_000002-rank_1.pt"
    assert list(path.parent.glob("*.pt")) == [path]
    event = next(event for event in read_events(log) if event["kind"] == "bundle")
    assert event["values"]["path"] == str(path)
    assert event["reason"].startswith("epoch 0, batch 2, rank 1: ")
    bundle = read_bundle(path)
    assert bundle["summary"]["cause"] == "batch"
    assert replay_bundle(bundle, trust=True).trace.origin.frame.range.index == (0, 0, 0)


class InfiniteLossOfRankOne(ForeignRecurrent):
    """Has an infinite loss with a finite gradient, which the other rank cannot see."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + (INF if batch_idx == 2 and self.global_rank == 1 else 0)


@pytest.mark.slow
def test_ranks_do_not_deadlock_when_one_has_already_written(tmp_path):
    log = tmp_path / "events.jsonl"
    callbacks = [CrashBundle(str(tmp_path)), StepGuard(), EventLog(str(log))]
    fit(InfiniteLossOfRankOne(), callbacks, strategy="ddp_spawn", devices=2, max_steps=4)
    assert [path.name for path in tmp_path.glob("*.pt")] == ["epoch_0000-batch_000002-rank_1.pt"]
    assert [event["kind"] for event in read_events(log)] == ["skip", "bundle"]
