import copy
import os
import sys

import pytest
import torch
from lightning.pytorch import Trainer

from vestim_pl.data import RecordingTable, StreamSampling, VoltageDataModule, WindowSampling
from vestim_pl.diagnosis.probe import (
    STEPS,
    Measurements,
    _memory,
    backward,
    detached_copy,
    measure,
    narrow,
    new_optimizer,
    seconds_of,
    step,
)
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.sequence_batch import SequenceBatch


def datamodule(sampling: WindowSampling | StreamSampling) -> VoltageDataModule:
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(300, 3, generator=generator) for _ in range(4)]
    target = [3.7 + 0.1 * part[:, 1] for part in inputs]
    module = VoltageDataModule(root="nowhere", sampling=sampling)
    module._tables = {split: RecordingTable.of("abcd", inputs, target) for split in ("train", "val", "test")}
    return module


def estimator(module: VoltageDataModule, **network: object) -> VoltageEstimator:
    torch.manual_seed(3)
    spec = {"name": "LSTM", "hidden_sizes": [5], **network}
    made = VoltageEstimator(module.features, spec, {"name": "Adam", "lr": 1e-2})
    made.scaler.fit(module.table("train").inputs, module.table("train").target)
    return made


def trainer(**options: object) -> Trainer:
    return Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **options,
    )  # fmt: skip


def run(clip: tuple[float | None, str] = (1.0, "norm"), precision: str = "32-true", **network: object) -> Measurements:
    module = datamodule(WindowSampling(lookback=20, batch_size=32))
    return measure(estimator(module, **network), module, trainer(precision=precision), clip)


def test_nothing_is_left_changed():
    module = datamodule(WindowSampling(lookback=20, batch_size=32))
    made = estimator(module, dropout=0.5)
    before = copy.deepcopy(made.state_dict())
    random = torch.get_rng_state()
    measure(made, module, trainer(), (1.0, "norm"))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert all(parameter.grad is None for parameter in made.parameters())


def test_the_first_norm_is_that_of_the_first_batch_before_clipping():
    module = datamodule(WindowSampling(lookback=20, batch_size=32))
    made = estimator(module)
    found = measure(made, module, trainer(), (0.01, "norm"))
    copied = detached_copy(made, trainer())
    backward(copied, next(iter(module.train_dataloader())))
    expected = torch.nn.utils.get_total_norm([p.grad for p in copied.parameters()])
    assert found.norms[0] == pytest.approx(float(expected))
    assert len(found.norms) == STEPS
    assert found.batches == len(module.train_dataloader())


def test_steps_are_taken_as_the_settings_say():
    """Clipping to next to nothing leaves Adam's first steps alone but the later ones differ from unclipped ones."""
    loose, tight = run(clip=(None, "norm")), run(clip=(0.01, "norm"))
    assert loose.norms[0] == tight.norms[0]
    assert loose.norms[5] != tight.norms[5]


def test_values_are_measured_where_values_are_clipped():
    assert run(clip=(1.0, "value")).norms[0] < run(clip=(1.0, "norm")).norms[0]


def test_the_gradient_is_followed_through_the_window_and_the_sweep_falls_and_blows_up():
    found = run()
    (flow,) = found.flows
    assert len(flow.hidden_norms) == 20
    test = found.range_test
    assert min(test.losses) < test.losses[0]
    assert list(test.rates) == sorted(test.rates)
    assert 1e-5 < test.steepest < test.unstable
    assert 0 < test.update_ratio < 0.2


def test_dropout_is_off_in_the_sweep():
    """Rates of a millionth move nothing, so the first losses are the same unless dropout draws."""
    losses = run(dropout=0.5).range_test.losses
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize(("dropout", "scatters"), [(0.5, True), (0.0, False)])
def test_dropout_scatters_the_estimate(dropout, scatters):
    assert (run(dropout=dropout).dropout_scatter_mv > 1.0) == scatters


def test_a_network_without_recurrence_has_no_flow():
    assert run(name="FNN").flows == []


def test_precisions_are_timed_only_where_mixed():
    assert run().full_seconds is None
    found = run(precision="bf16-mixed")
    assert found.full_seconds > 0
    assert found.mixed_seconds > 0


def test_streams_that_begin_with_burn_in_are_carried_through():
    module = datamodule(StreamSampling(lookback=20, lanes=4, burn_in=50))
    found = measure(estimator(module), module, trainer(), (1.0, "norm"))
    assert found.norms
    assert all(norm > 0 for norm in found.norms)


def test_recordings_without_a_scored_step_are_refused():
    module = datamodule(StreamSampling(lookback=20, lanes=4, burn_in=0))
    made = estimator(module)
    module.train_dataloader = lambda: [_empty()]
    with pytest.raises(ConfigurationError, match="no batch has a scored step"):
        measure(made, module, trainer(), (1.0, "norm"))


def _empty() -> SequenceBatch:
    batch = SequenceBatch.of(torch.zeros(2, 5, 3), torch.zeros(2, 5))
    return batch._replace(weight=torch.zeros(2, 5))


def test_settings_of_the_optimizer_are_used():
    module = datamodule(WindowSampling(lookback=20))
    optimizer = new_optimizer(estimator(module))
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["lr"] == 1e-2


def test_windows_has_neither_resource_nor_sysconf(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.delattr(os, "sysconf")
    assert dict(_memory(torch.device("cpu"))) == {"peak_bytes": None, "available_bytes": None, "where": "memory"}


def test_a_validation_is_measured_too():
    module = datamodule(WindowSampling(lookback=20, batch_size=32, evaluation_batch_size=64))
    found = measure(estimator(module), module, trainer(), (1.0, "norm"))
    assert found.validation_batches == len(module.val_dataloader()) > 1
    assert found.validation_seconds > 0


def test_narrow_takes_scored_lanes_and_starts_them_fresh():
    batch = SequenceBatch.of(torch.arange(4.0)[:, None, None].expand(4, 5, 1), torch.zeros(4, 5))
    weight = torch.ones(4, 5)
    weight[0] = 0
    few = narrow(batch._replace(weight=weight, fresh=torch.zeros(4, dtype=torch.bool)), lanes=2)
    assert few.inputs[:, 0, 0].tolist() == [1.0, 2.0]
    assert few.fresh.tolist() == [True, True]


def test_step_uses_the_present_gradient_with_any_optimizer():
    for kind in (torch.optim.SGD, torch.optim.LBFGS):
        parameter = torch.nn.Parameter(torch.ones(2))
        parameter.grad = torch.ones(2)
        step(kind([parameter], lr=0.5))
        assert (parameter < 1).all()


def test_seconds_are_positive():
    assert seconds_of(lambda: torch.ones(3).sum()) > 0
