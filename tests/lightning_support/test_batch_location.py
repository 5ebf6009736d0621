from dataclasses import dataclass

import torch

from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.lightning_support.batch_location import nonfinite_fields

NAN = float("nan")


def test_fields_of_a_named_tuple_with_their_rows():
    batch = SequenceBatch.of(torch.ones(3, 4, 2), torch.ones(3, 4))
    batch.inputs[1, 2, 0] = NAN
    batch.target[2, 0] = float("inf")
    assert nonfinite_fields(batch) == {"inputs": [1], "target": [2]}


def test_nested_containers_integers_and_strangers():
    batch = {"a": [torch.ones(2), torch.tensor([[1.0], [NAN]])], "n": torch.arange(3), "name": "x", "none": None}
    assert nonfinite_fields(batch) == {"a.1": [1]}
    assert nonfinite_fields(torch.tensor(NAN)) == {"batch": [0]}
    assert nonfinite_fields("text") == {}


def test_fields_of_a_dataclass():
    @dataclass
    class Batch:
        inputs: torch.Tensor
        target: torch.Tensor

    assert nonfinite_fields(Batch(torch.ones(2, 3), torch.tensor([1.0, NAN]))) == {"target": [1]}
