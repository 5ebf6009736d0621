import csv
import json
import math
import random
import re

import numpy as np
import pytest
import torch
import torchmetrics
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vestim_pl.callbacks import GradientFlowProbe
from vestim_pl.callbacks.gradients.gradient_flow import FlowVerdict, GradientFlow, summarize_flow
from vestim_pl.callbacks.gradients.gradient_flow_probe import _sentence, plot_gradient_flow
from vestim_pl.errors import ConfigurationError


class Foreign(LightningModule):
    """Has everything a careless probe could disturb: dropout, batch norm, a metric, carried state, randomness."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(2, 6, 2, batch_first=True, dropout=0.2)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(6, 1)
        self.metric = torchmetrics.MeanMetric()
        self.carried = None
        self.calls = 0

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.calls += 1
        output, (hidden, cell) = self.encoder(x, self.carried)
        self.carried = (hidden.detach(), cell.detach())
        estimate = self.head(self.drop(self.norm(output[:, -1])))
        loss = (estimate - y).square().mean() * (1 + 0.01 * random.random() + 0.01 * np.random.rand())  # noqa: NPY002
        self.metric.update(loss.detach())
        self.log("loss", loss)
        return {"loss": loss}

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Manual(Foreign):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


class BatchOnly(Foreign):
    def training_step(self, batch):
        return super().training_step(batch, 0)["loss"]


class Events(Callback):
    def __init__(self):
        self.seen = []

    def on_event(self, trainer, event):
        self.seen.append(event)


def run(*callbacks, model=Foreign, steps=6, **options):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    module = model()
    options = {"accelerator": "cpu", "log_every_n_steps": 1, "logger": False} | options
    trainer = Trainer(
        max_steps=steps, callbacks=list(callbacks), enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    x = torch.randn(24, 15, 2)
    trainer.fit(module, DataLoader(TensorDataset(x, x.sum((1, 2))[:, None]), batch_size=4, shuffle=True))
    return module, trainer


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}])
def test_run_is_bitwise_the_same_with_and_without(options):
    plain, plain_trainer = run(**options)
    probed, trainer = run(GradientFlowProbe(every_n_steps=1, folder="flow"), **options)
    for (name, left), right in zip(plain.state_dict().items(), probed.state_dict().values(), strict=True):
        assert torch.equal(left, right), name
    for left, right in zip(plain.carried, probed.carried, strict=True):
        assert torch.equal(left, right)
    assert plain.calls == probed.calls
    assert torch.equal(plain.metric.compute(), probed.metric.compute())
    ours, theirs = (t.optimizers[0].state_dict()["state"] for t in (plain_trainer, trainer))
    assert all(torch.equal(ours[i]["exp_avg_sq"], theirs[i]["exp_avg_sq"]) for i in ours)
    assert plain_trainer.logged_metrics == trainer.logged_metrics


def test_random_states_are_the_same_afterwards():
    run()
    plain = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    run(GradientFlowProbe(every_n_steps=1, folder="flow"))
    assert torch.equal(plain[0], torch.get_rng_state())
    assert plain[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


def test_writes_numbers_plot_log_and_event(tmp_path):
    events, probe = Events(), GradientFlowProbe(steps=[0, 4])
    run(probe, events, logger=CSVLogger(tmp_path, name="log", version=0), log_every_n_steps=100)
    folder = tmp_path / "log" / "0" / "gradient_flow"
    folder = folder if folder.exists() else tmp_path / "log" / "version_0" / "gradient_flow"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"step_000000{step}.{kind}" for step in (0, 4) for kind in ("csv", "json", "png")
    ]
    flows = json.loads((folder / "step_0000004.json").read_text())
    assert [flow["layer"] for flow in flows] == ["encoder", "encoder[1]"]
    assert [len(flow["hidden_norms"]) for flow in flows] == [15, 15]
    rows = list(csv.DictReader((folder / "step_0000004.csv").open()))
    assert len(rows) == 30
    assert float(rows[3]["hidden_norm"]) == flows[0]["hidden_norms"][3]
    assert float(rows[3]["cell_norm"]) == flows[0]["cell_norms"][3]
    logged = [row for row in csv.DictReader((folder.parent / "metrics.csv").open()) if row["gradient_flow/far_to_near"]]
    assert [int(row["step"]) for row in logged] == [0, 4]
    memory = max(flow["effective_memory"] for flow in flows)
    assert float(logged[1]["gradient_flow/effective_memory"]) == memory
    assert [event.kind for event in events.seen] == ["gradient_flow"] * 2
    assert f"within the last {memory} of 15 steps" in events.seen[1].reason
    assert events.seen[1].values["layers"]["encoder"]["verdict"] == flows[0]["verdict"]
    json.dumps(events.seen[1].as_dict())


def test_measures_once_a_step_under_accumulation():
    events = Events()
    run(GradientFlowProbe(steps=[1], folder="flow"), events, accumulate_grad_batches=3, steps=2)
    assert len(events.seen) == 1


def test_training_step_that_takes_the_batch_alone():
    events = Events()
    run(GradientFlowProbe(steps=[0], folder="flow"), events, model=BatchOnly)
    assert len(events.seen) == 1


def test_training_step_may_ask_its_trainer():
    class Asking(Foreign):
        def training_step(self, batch, batch_idx):
            assert self.trainer.log_every_n_steps == 1
            return super().training_step(batch, batch_idx)

    events = Events()
    run(GradientFlowProbe(steps=[0], folder="flow"), events, model=Asking)
    assert len(events.seen) == 1


def test_manual_optimization_is_refused():
    with pytest.raises(ConfigurationError, match="Manual optimizes manually"):
        run(GradientFlowProbe(), model=Manual)


@pytest.mark.parametrize(
    ("output", "message"), [(lambda head: head(torch.ones(1, 6)).sum(), r"nn\.LSTM"), (lambda head: None, "no loss")]
)
def test_module_that_cannot_be_measured_is_reported_once_and_trains_on(output, message, caplog):
    class Linear(Foreign):
        def training_step(self, batch, batch_idx):
            return output(self.head)

    _, trainer = run(GradientFlowProbe([0, 2, 4]), model=Linear)
    assert trainer.global_step == 6 or output(torch.nn.Linear(6, 1)) is None
    (line,) = (record.message for record in caplog.records if "was not measured" in record.message)
    assert re.search(message, line)


@pytest.mark.parametrize("options", [{"steps": [-1]}, {"every_n_steps": 0}, {"mass": 1.0}])
def test_bad_argument_is_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        GradientFlowProbe(**options)


def test_layers_with_a_non_finite_gradient_are_described_first():
    good, bad = [0.5**lag for lag in range(9)], [1.0, math.inf, math.nan]
    flows = [GradientFlow(name, n, [], *summarize_flow(n), False) for name, n in (("good", good), ("bad", bad))]
    sentence = _sentence(flows, flows[0], 0.99)
    assert sentence.startswith("gradient flow: the gradient of bad is non-finite within 3 steps; gradient flow: 99 %")
    assert _sentence(flows[:1], flows[0], 0.99).count("gradient flow") == 1
    assert _sentence(flows[1:], flows[1], 0.99).count("bad") == 1


def test_draws_layers_with_zero_and_non_finite_norms(tmp_path):
    norms = [1.0, 0.5, 0.0, math.nan]
    flows = [
        GradientFlow("a", norms, [], 2, 0.5, 0.5, FlowVerdict.VANISHES, False),
        GradientFlow("b", [0.0, 0.0], [], 0, math.nan, math.nan, FlowVerdict.NO_GRADIENT, False),
    ]
    plot_gradient_flow(flows, tmp_path / "plot.png", "step 3")
    assert (tmp_path / "plot.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
