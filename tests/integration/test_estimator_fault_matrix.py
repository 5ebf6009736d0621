"""The faults of the matrix in a training of our own estimator: its bundle names the place in every mode."""

import math

import pytest
import torch
from torch.utils.data import DataLoader

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import fit
from tests.pairs import pairwise
from vestim_pl.callbacks import CrashBundle, DivergenceRecovery, FiniteParameterGuard, StepGuard
from vestim_pl.callbacks.crash_bundle.reading import read_bundle
from vestim_pl.callbacks.crash_bundle.replaying import replay_bundle
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.lightning_support.step_trace import Phase

AT, LANES, STEPS = 3, 4, 7
GUARDS = {"bundle": (), "guards": (StepGuard, FiniteParameterGuard, DivergenceRecovery)}  # who finds the fault
KERNEL, HEAD = "network.layers.0.kernel", "network.head"

# Phase, name and place that the bundle of a fault gives; two batches make a step, so fields have their batch's number.
PLACES = {
    "input": (Phase.BATCH, f"{AT}.inputs", (0, 0, 0)),
    "target": (Phase.BATCH, f"{AT}.target", (LANES - 1, STEPS - 1)),
    "activation": (Phase.FORWARD, HEAD, (0, 0, 0)),
    "loss": (Phase.LOSS, f"of batch {AT}", ()),
    "gradient": (Phase.GRADIENT, f"{KERNEL}.weight_ih_l0", (0, 0)),
    "parameter": (Phase.PARAMETER, f"{KERNEL}.weight_ih_l0", (0, 0)),
}
PART_OF_THE_STEP = ("input", "target", "parameter")
RECURRENT = {"input": ("input", 0), "parameter": ("input gate pre-activation", 0)}  # tensor and time step of the LSTM


def batches(mode):
    """Windows estimate their last step from the zero state; streams estimate every step from the carried state."""
    for number in range(6):
        inputs, target = torch.randn(LANES, STEPS, 3), 3.7 + 0.1 * torch.randn(LANES, STEPS)
        if mode == "windows":
            yield SequenceBatch.of(inputs, target[:, -1:].clone())
        else:
            yield SequenceBatch.of(inputs, target)._replace(fresh=torch.full((LANES,), number == 0))


@pytest.mark.parametrize(("site", "mode", "guards"), pairwise(PLACES, ["windows", "streams"], GUARDS))
def test_fault_in_our_estimator_is_named_in_its_bundle(site, mode, guards, tmp_path):
    estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [6], "dropout": 0.1})
    estimator.scaler.fit(torch.randn(100, 3), 3.7 + 0.1 * torch.randn(100))
    estimator.train_dataloader = lambda: DataLoader(list(batches(mode)), batch_size=None)
    injector = FaultInjector(site, math.nan, AT, layer=HEAD)
    callbacks = [injector, CrashBundle(str(tmp_path), max_bundles=1), *(guard() for guard in GUARDS[guards])]
    fit(estimator, callbacks, accumulate_grad_batches=2, max_steps=2)
    bundle = read_bundle(next(tmp_path.glob("*.pt")))
    phase, name, place = PLACES[site]
    found = bundle["summary"]["findings"][phase.value]["frame"]
    if (site, mode) == ("target", "windows"):
        place = (LANES - 1, 0)  # only the last step is a target
    assert bundle["summary"]["cause"] == phase.value
    assert bundle["summary"]["batches"] == [AT - 1, AT]
    assert (found["name"], found["range"]["index"], found["range"]["value"]) == (name, list(place), "nan")
    assert bundle["summary"]["not_located"] == ""
    replay = replay_bundle(bundle)
    assert replay.notes == []
    if site not in PART_OF_THE_STEP:
        assert replay.trace.findings == {}
        return
    frame = replay.trace.origin.frame
    assert (frame.phase, frame.name, frame.range.index) == (phase, name, place)
    if site in RECURRENT:
        frame = replay.trace.findings[Phase.RECURRENT].frame
        assert (frame.name, frame.tensor, frame.time) == (KERNEL, *RECURRENT[site])
