import torch

from vestim_pl.lightning_support.buffer_copy import BufferCopy


def test_replaced_reshaped_and_missing_buffers_come_back():
    module = torch.nn.Module()
    module.register_buffer("kept", torch.ones(2))
    module.register_buffer("replaced", torch.ones(2))
    module.register_buffer("absent", None)
    kept = module.kept
    copy = BufferCopy(module)
    copy.save()
    module.kept.fill_(9)
    module.replaced = torch.zeros(5)
    module.absent = torch.ones(1)
    copy.restore()
    assert module.kept is kept
    assert module.kept.tolist() == module.replaced.tolist() == [1, 1]
    assert module.absent is None


def test_nothing_saved_restores_nothing():
    norm = torch.nn.BatchNorm1d(1)
    BufferCopy(norm).restore()
    assert norm.running_mean.item() == 0
