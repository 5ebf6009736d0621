from dataclasses import dataclass

import torch

from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.lightning_support.nested_tensors import copy_tensors, named_tensors, tensors_in


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
