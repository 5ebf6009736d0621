"""Every fault, at every site, in every precision and mode: caught in its step, named, located, survived."""

import functools

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from tests.callbacks.fault_injector import SITES, FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, Recorder, fit
from tests.pairs import pairwise
from vestim_pl.callbacks import CrashBundle, DivergenceRecovery, FiniteParameterGuard, StepGuard
from vestim_pl.callbacks.crash_bundle.reading import read_bundle
from vestim_pl.callbacks.crash_bundle.replaying import replay_bundle
from vestim_pl.errors import DivergenceError
from vestim_pl.lightning_support.step_trace import Phase

AT = 10
VALUES = {"nan": float("nan"), "inf": float("inf"), "-inf": -float("inf")}
PRECISIONS = ["fp32", "bf16", "fp16"]
GUARDS = {"bundle": (), "guards": (FiniteParameterGuard,)}  # who finds the fault


def half_precision_runs() -> bool:
    try:
        with torch.autocast("cpu", dtype=torch.float16):
            torch.nn.Linear(3, 2)(torch.zeros(1, 3)).sum().backward()
    except RuntimeError:
        return False
    return True


class Windows(ForeignRecurrent):
    """Sequence to one: every window from the zero state, the last step counts."""

    def training_step(self, batch, batch_idx):
        outputs, _ = self(batch[0])
        return (outputs[:, -1].float() - batch[1][:, -1]).square().mean()


class Streams(ForeignRecurrent):
    """Truncated backpropagation: the detached state of every lane is carried from batch to batch."""

    def __init__(self):
        super().__init__(carry=True)


MODES = {"windows": Windows, "streams": Streams}


def options(precision: str) -> dict:
    if precision == "fp16":
        if not half_precision_runs():
            pytest.skip("this machine has no half precision kernels for the CPU")
        return {"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))]}
    return {"precision": {"fp32": "32-true", "bf16": "bf16-mixed"}[precision]}


def train(mode, precision, accumulate, callbacks):
    torch.manual_seed(0)
    module, epochs = MODES[mode](), 4 * accumulate
    trainer = fit(
        module,
        callbacks,
        max_epochs=epochs,
        check_val_every_n_epoch=epochs,
        limit_val_batches=1,
        accumulate_grad_batches=accumulate,
        **options(precision),
    )
    return module, float(trainer.callback_metrics["val_rmse"])


@functools.cache
def clean_rmse(mode, precision, accumulate):
    return train(mode, precision, accumulate, [])[1]


def protection(*between, **recovery):
    arguments = {"snapshot_every": 2, "raise_after": 1, "raise_by": 4.0} | recovery
    return [StepGuard(max_consecutive_skips=1), *between, DivergenceRecovery(**arguments)]


NAMES = {
    "input": ("batch", f"non-finite values in 0 of batch {AT}"),
    "target": ("batch", f"non-finite values in 1 of batch {AT}"),
    "activation": ("loss", "although batch and parameters are finite"),
    "loss": ("loss", "although batch and parameters are finite"),
    "gradient": ("gradient", "first in the gradient of cell.weight"),
}


def check_named(event, site, precision, accumulate):
    """Check that the event is of the step of the fault and names the site."""
    window = list(range(AT - AT % accumulate, AT - AT % accumulate + accumulate))
    if site == "parameter" and event.kind == "non_finite":
        assert f"Batch {AT}: model parameters became NaN/Inf" in event.reason
        assert "first in cell.weight" in event.reason
        return
    if site == "parameter" and event.kind == "rollback":  # at the end of the batch
        assert f"batch {AT}: parameters cell.weight are not finite" in event.reason
        return
    assert event.kind == "skip"
    assert event.values["batches"] == window
    cause, words = NAMES.get(site, ("parameter", "parameters cell.weight are not finite"))
    if site == "gradient" and precision == "fp16":
        cause, words = "overflow", "the gradient overflowed at loss scale"
    assert event.values["cause"] == cause
    assert words in event.reason


# Phase, name and place that the bundle of a fault gives; the first batch's shape is 16 lanes of 8 steps.
PLACES = {
    "input": (Phase.BATCH, "0", (0, 0, 0)),
    "target": (Phase.BATCH, "1", (15, 7)),
    "activation": (Phase.FORWARD, "head", (0, 0)),
    "loss": (Phase.LOSS, f"of batch {AT}", ()),
    "gradient": (Phase.GRADIENT, "cell.weight", (0, 0)),
    "parameter": (Phase.PARAMETER, "cell.weight", (0, 0)),
}
PART_OF_THE_STEP = ("input", "target", "parameter")


def check_bundle(path, site, value):
    """Check that the bundle names the place; its replay does too if the fault is part of the step."""
    bundle = read_bundle(path)
    phase, name, place = PLACES[site]
    assert bundle["summary"]["cause"] == phase.value
    recorded = bundle["summary"]["findings"][phase.value]["frame"]
    assert recorded["name"].endswith(name)
    assert tuple(recorded["range"]["index"]) == place
    # A factor that is infinite makes a NaN of a zero, and gradients of different sign add up to one.
    assert recorded["range"]["value"] in (
        {str(value)} if site in PART_OF_THE_STEP else {str(value), str(-value), "nan"}
    )
    replay = replay_bundle(bundle, trust=True)
    assert not replay.notes
    if site not in PART_OF_THE_STEP:
        assert not replay.trace.findings
        return
    frame = replay.trace.origin.frame
    assert (frame.phase, frame.range.index, frame.range.value) == (phase, place, str(value))
    assert frame.name.endswith(name)


@pytest.mark.parametrize(
    ("site", "value", "precision", "accumulate", "mode", "guards"),
    pairwise(SITES, VALUES, PRECISIONS, [1, 2], MODES, GUARDS),
)
def test_transient_fault_is_named_in_its_step_and_survived(site, value, precision, accumulate, mode, guards, tmp_path):
    """With all guards, as in the presets, CrashBundle uses their findings; with StepGuard alone it searches itself."""
    recorder = Recorder()
    protected = protection(*(guard() for guard in GUARDS[guards]))
    callbacks = [FaultInjector(site, VALUES[value], AT), CrashBundle(str(tmp_path)), *protected, recorder]
    module, rmse = train(mode, precision, accumulate, callbacks)
    kinds = [event.kind for event in recorder.events if event.kind not in ("recovery", "bundle")]
    check_named(next(event for event in recorder.events if event.kind != "bundle"), site, precision, accumulate)
    paths = sorted(tmp_path.glob("*.pt"))
    if site == "gradient" and precision == "fp16":  # the scaler handles an overflow by itself
        assert not paths
    else:
        assert len(paths) == 1
        check_bundle(paths[0], site, VALUES[value])
    if site == "parameter":
        if guards == "guards":
            kinds = [kind for kind in kinds if kind != "non_finite"]  # the guard's name for what is rolled back
        assert kinds in (["skip", "rollback"], ["rollback"])  # tanh bounds an infinite weight: finite loss and gradient
    else:
        assert kinds == ["skip"]
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    assert rmse < 1.1 * clean_rmse(mode, precision, accumulate)


@pytest.mark.parametrize(("site", "precision", "mode"), pairwise(SITES, PRECISIONS, MODES))
def test_persistent_fault_stops_with_every_attempt_in_the_message_and_good_weights(site, precision, mode):
    recorder = Recorder()
    callbacks = [FaultInjector(site, float("nan"), AT, persistent=True), *protection(max_attempts=2), recorder]
    with pytest.raises(DivergenceError, match="all 2 recoveries are used up") as error:
        train(mode, precision, 1, callbacks)
    check_named(recorder.events[0], site, precision, 1)
    assert str(error.value).count("went back to step") == 2
    assert all(torch.isfinite(weight).all() for weight in recorder.weights[-1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("site", SITES)
def test_the_faults_are_real(site, mode):
    """Without protection each of them ruins the training."""
    module, rmse = train(mode, "fp32", 1, [FaultInjector(site, float("nan"), AT)])
    assert not all(torch.isfinite(parameter).all() for parameter in module.parameters())
    assert not rmse < 1e9
