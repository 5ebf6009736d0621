import os

import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, fit
from vestim_pl.callbacks import DivergenceRecovery
from vestim_pl.lightning_support.checkpoint_finiteness import (
    CheckpointGate,
    nonfinite_entries,
    remove_nonfinite_scores,
    rewrite_latest,
)


def test_admits_or_leaves_out_and_passes_all_else_on(tmp_path):
    asked = []
    gate = CheckpointGate(TorchCheckpointIO(), admit=lambda checkpoint, path: asked.append(path) or checkpoint["good"])
    path = tmp_path / "a.ckpt"

    gate.save_checkpoint({"good": False}, path)
    assert not path.exists()
    gate.save_checkpoint({"good": True, "tensor": torch.ones(1)}, path)
    assert gate.load_checkpoint(path, weights_only=True)["tensor"].item() == 1
    gate.save_checkpoint({"good": False}, path)
    assert gate.load_checkpoint(path, weights_only=True)["good"], "the good one stays"
    gate.remove_checkpoint(path)
    assert not path.exists()
    gate.teardown()
    assert asked == [path] * 3


NAN, INF = float("nan"), float("inf")


def test_poison_in_weights_and_moments_is_named_and_masks_are_spared():
    checkpoint = {
        "state_dict": {"w": torch.tensor(NAN), "mask": torch.tensor(-INF), "ok": torch.ones(1)},
        "optimizer_states": [{"state": {0: {"step": 1.0}}}, {"state": {0: {"exp_avg": torch.tensor(INF)}}}],
    }
    assert nonfinite_entries(checkpoint, ["w", "ok"]) == ["w", "state of optimizer 1"]
    assert nonfinite_entries(checkpoint | {"optimizer_states": []}, ["ok"]) == []
    assert nonfinite_entries({"state_dict": {}}, ["gone"]) == []


@pytest.mark.parametrize("mode", ["min", "max"])
def test_records_are_ranked_again_without_nonfinite_scores(tmp_path, mode):
    keeper = ModelCheckpoint(tmp_path, monitor="m", mode=mode, save_top_k=3)
    trainer = Trainer(callbacks=[keeper], logger=False, accelerator="cpu")
    scores = {"a": 1.0, "b": INF if mode == "min" else -INF, "c": 2.0}
    for name, score in scores.items():
        (tmp_path / name).touch()
        keeper.best_k_models[str(tmp_path / name)] = torch.tensor(score)
    keeper.kth_best_model_path = keeper.best_model_path = str(tmp_path / "b")
    assert remove_nonfinite_scores(trainer) == [str(tmp_path / "b")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]
    assert keeper.best_model_path == str(tmp_path / ("a" if mode == "min" else "c"))
    assert keeper.best_model_score == (1.0 if mode == "min" else 2.0)
    assert keeper.kth_best_model_path == ""  # there is room again
    assert keeper.check_monitor_top_k(trainer, torch.tensor(5.0))


def test_a_linked_last_checkpoint_is_replaced_and_its_target_left_alone(tmp_path):
    keeper = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=6, save_top_k=-1, save_last="link", monitor="step")
    module = ForeignRecurrent()
    trainer = fit(module, [keeper], enable_checkpointing=True)
    last = tmp_path / "last.ckpt"
    if not last.is_symlink():
        pytest.skip("this file system has no links")
    target = os.path.realpath(last)
    with torch.no_grad():
        module.head.bias.fill_(42.0)
    assert rewrite_latest(trainer) == [str(last)]
    assert not last.is_symlink()
    assert torch.load(last, weights_only=True)["state_dict"]["head.bias"] == 42
    assert torch.load(target, weights_only=True)["state_dict"]["head.bias"] != 42


@pytest.mark.parametrize(("save_top_k", "rewritten"), [(-1, []), (2, []), (1, ["step=10.ckpt"])])
def test_a_rollback_leaves_archived_checkpoints_alone(tmp_path, save_top_k, rewritten):
    """Only the one file of a ModelCheckpoint that keeps the latest state may change; others record a moment."""
    monitored = {"monitor": "step", "mode": "max"} if save_top_k == 2 else {}
    keeper = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=5, save_top_k=save_top_k, **monitored)

    class Steps(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 10:
                self.saved = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    steps, fault = Steps(), FaultInjector("parameter", NAN, 10)
    recovery = DivergenceRecovery(snapshot_every=8)
    fit(ForeignRecurrent(), [steps, fault, recovery, keeper], enable_checkpointing=True)
    assert recovery.attempts
    now = {name: (tmp_path / name).read_bytes() for name in steps.saved}
    assert [name for name, content in steps.saved.items() if now[name] != content] == rewritten
