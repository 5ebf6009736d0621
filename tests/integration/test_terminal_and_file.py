"""The terminal and events.jsonl hold the same events, in the same order, each once."""

import logging
import math
from collections import Counter

import pytest
import torch
from lightning.pytorch import Callback

from tests.callbacks.fault_injector import FaultInjector
from vestim_pl.app.configuration import build
from vestim_pl.app.estimator import build_estimator
from vestim_pl.app.trainer import build_trainer
from vestim_pl.lightning_support.events import read_events

NAN = math.nan
RESILIENT = (
    "+preset=resilient", "sampling.lookback=10", "sampling.batch_size=64", "network.hidden_sizes=[4]",
    "trainer.accelerator=cpu", "trainer.max_epochs=1", "+trainer.max_steps=12", "callbacks.lookback_warmup=null",
)  # fmt: skip


class PoisonedUpdate(Callback):
    """Lets one update leave weights that are not finite."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 6:
            with torch.no_grad():
                next(pl_module.parameters()).fill_(NAN)


FAULTS = {  # and the events of each
    "input": (lambda: FaultInjector("input", NAN, at=5), "skip bundle"),
    "every input": (
        lambda: FaultInjector("input", NAN, at=5, persistent=True),
        "skip bundle skip bundle skip bundle skip skip skip rollback skip",
    ),
    "parameter": (lambda: FaultInjector("parameter", NAN, at=5), "skip bundle rollback"),
    "gradient": (lambda: FaultInjector("gradient", NAN, at=5), "skip bundle"),
    "update": (PoisonedUpdate, "non_finite bundle rollback"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_terminal_and_file_hold_the_same_events(compose, tmp_path, caplog, fault):
    (make_fault, story), config = FAULTS[fault], compose(*RESILIENT)
    torch.manual_seed(0)
    datamodule = build(config.data, sampling=build(config.sampling))
    datamodule.setup("fit")
    trainer = build_trainer(config)
    trainer.callbacks.insert(0, make_fault())
    with caplog.at_level(logging.DEBUG, "vestim_pl"):
        trainer.fit(build_estimator(config, datamodule), datamodule=datamodule)
    events = read_events(tmp_path / "run" / "events.jsonl")
    told = [event["reason"] for event in events]
    lines = [record.getMessage() for record in caplog.records if record.name == "vestim_pl"]
    assert [line for line in lines if line in set(told)] == told
    assert max(Counter(lines).values()) == 1
    kinds = [event["kind"] for event in events if event["kind"] in ("skip", "non_finite", "bundle", "rollback")]
    assert kinds == story.split()
