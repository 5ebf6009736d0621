from dataclasses import dataclass

import torch

from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.lightning_support.tensors import BufferCopy, TensorCopies, copy_tensors, named_tensors, tensors_in


@dataclass
class Pair:
    x: torch.Tensor
    rest: object = None


def test_names_within_containers():
    batch = SequenceBatch.of(torch.ones(1, 2, 3), torch.ones(1, 2))
    names = [name for name, _ in named_tensors([batch, {"a": (torch.ones(1),)}, "text", Pair(torch.ones(1))], "3")]
    expected = ["3.0.inputs", "3.0.target", "3.0.weight", "3.0.fresh", "3.0.first_row", "3.1.a.0", "3.3.x"]
    assert names == expected
    assert named_tensors(torch.ones(1))[0][0] == "tensor"
    assert named_tensors({0: torch.ones(1)})[0][0] == "0"


def test_copies_are_detached_and_of_their_own_in_every_container():
    tensor = torch.ones(1, requires_grad=True) * 2
    for nested in ([tensor], (tensor,), {"a": {"b": tensor}}, Pair(tensor), Pair(torch.zeros(1), [tensor])):
        (copy,) = tensors_in(copy_tensors(nested))[-1:]
        assert not copy.requires_grad
        assert copy.data_ptr() != tensor.data_ptr()
        assert copy.item() == 2


def test_copies_follow_tensors_that_are_written_replaced_and_reshaped():
    live, copies = [torch.zeros(2), torch.zeros(1, dtype=torch.int64)], TensorCopies()
    copies.save(live)
    memory = copies.tensors[0].data_ptr()
    live[0].fill_(1.5)
    copies.save(list(live))
    assert copies.tensors[0].data_ptr() == memory
    assert [copy.tolist() for copy in copies.tensors] == [[1.5, 1.5], [0]]
    live[1] = torch.tensor([0.5])  # of another type: not to be rounded to the one before
    copies.save(live)
    assert copies.tensors[1].tolist() == [0.5]
    live[0].data = torch.ones(1)  # the same tensor, with room for less
    copies.save(live)
    assert copies.tensors[0].tolist() == [1.0]


def test_nothing_to_copy():
    copies = TensorCopies()
    copies.save([])
    copies.save([])
    assert copies.tensors == []


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
