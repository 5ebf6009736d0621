import torch
from lightning.fabric.plugins import TorchCheckpointIO

from vestim_pl.lightning_support.checkpoint_gate import CheckpointGate


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
