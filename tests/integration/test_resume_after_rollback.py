"""The callbacks that ``preset=resilient`` composes: stopped after a rollback and resumed equals never stopped."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.callbacks.foreign import same
from tests.integration.kill_loop import SETTINGS
from vestim_pl.app.configuration import build
from vestim_pl.app.estimator import build_estimator, reset_global_state
from vestim_pl.app.trainer import build_trainer

FAULT, STOP = 10, 13  # in the second epoch of 8 steps, with the warmup of 20 updates under way
EXTRA = (
    f"+callbacks.fault={{_target_:tests.callbacks.fault_injector.FaultInjector,site:parameter,value:nan,at:{FAULT}}}",
    "callbacks.recovery.checkpoint_every=1",
    "callbacks.recovery.raise_after=6",
    "trainer.log_every_n_steps=1",
)


def ours(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """State of the callbacks, without the paths that ModelCheckpoint keeps."""
    return {key: state for key, state in checkpoint["callbacks"].items() if "ModelCheckpoint" not in key}


def kept(folder: Path, every: int) -> str:
    node = "_target_:lightning.pytorch.callbacks.ModelCheckpoint,filename:'{step}',auto_insert_metric_name:false"
    return f"+callbacks.kept={{{node},dirpath:{folder},every_n_train_steps:{every},save_top_k:-1}}"


def events(run: Path) -> list[tuple[str, int, str]]:
    lines = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [(line["kind"], line["step"], line["reason"]) for line in lines]


@pytest.mark.filterwarnings("ignore")
def test_stopped_after_a_rollback_and_resumed_equals_never_stopped(compose, tmp_path):
    def run(name: str, ckpt_path: Path | None = None) -> tuple[dict[str, Any], list[tuple[str, int, str]]]:
        folder = tmp_path / name
        config = compose(*SETTINGS[1:], *EXTRA, kept(folder / "kept", STOP), f"run_dir={folder}")
        reset_global_state(config)
        datamodule = build(config.data, sampling=build(config.sampling))
        datamodule.setup("fit")
        trainer = build_trainer(config)
        trainer.fit(build_estimator(config, datamodule), datamodule=datamodule, ckpt_path=ckpt_path)
        trainer.save_checkpoint(folder / "end.ckpt")
        return torch.load(folder / "end.ckpt", weights_only=True), events(folder)

    expected, told = run("whole")
    found, rest = run("parts", tmp_path / "whole" / "kept" / f"{STOP}.ckpt")
    kinds = [kind for kind, _, _ in told]
    assert kinds.count("rollback") == 1
    assert told[kinds.index("rollback")][1] <= STOP
    assert "recovery" in kinds, "the rate was never raised again"
    for key in ("global_step", "epoch", "state_dict", "optimizer_states", "lr_schedulers", "random_state"):
        assert same(expected[key], found[key]), key
    assert ours(expected).keys() == ours(found).keys()
    for key, state in ours(expected).items():
        assert same(state, ours(found)[key]), key
    rest = [event for event in rest if event[0] not in ("resume", "flush_denormals")]  # published at every start
    assert rest == told[len(told) - len(rest) :]
