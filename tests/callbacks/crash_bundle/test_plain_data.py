from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from vestim_pl.callbacks.crash_bundle.plain_data import from_plain, is_complete, to_plain
from vestim_pl.functional.sequence_batch import SequenceBatch

Pair = namedtuple("Pair", ["x", "y"])  # noqa: PYI024


def roundtrip(value, tmp_path, **options):
    torch.save(to_plain(value), tmp_path / "plain.pt")
    return from_plain(torch.load(tmp_path / "plain.pt", weights_only=True), **options)


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        frozenset("ab"),
        OmegaConf.create([8, {"a": 1}]),
        OmegaConf.create({"net": {"sizes": [8, 8]}}),
        None,
        True,
        3,
        2.5,
        "text",
        [1, [2]],
        (1, (2, 3)),
        {"a": {1: 2}},
        {},
        (),
        {"nested": [({"x": None},)]},
        {(0, 1): "unusual key"},
        {"__kind__": "the mark of a description"},
        torch.float64,
        torch.device("cuda:1"),
    ],
)
def test_plain_containers_come_back(value, tmp_path):
    found = roundtrip(value, tmp_path)
    assert found == value
    assert type(found) is type(value)


def test_tensors_come_back_without_their_graph(tmp_path):
    weight = torch.ones(2, requires_grad=True)
    found = roundtrip([weight * 2], tmp_path)
    assert torch.equal(found[0], torch.full((2,), 2.0))
    assert not found[0].requires_grad


def test_numbers_of_other_kinds_become_plain(tmp_path):
    assert roundtrip([np.float64(0.5), Path("a/b")], tmp_path) == [0.5, "a/b"]
    assert type(to_plain(np.float64(0.5))) is float


def test_our_batch_comes_back_as_our_class(tmp_path):
    batch = SequenceBatch.of(torch.ones(1, 2, 3), torch.ones(1, 2))
    found = roundtrip(batch, tmp_path)
    assert type(found) is SequenceBatch
    assert torch.equal(found.inputs, batch.inputs)


def test_foreign_named_tuple_comes_back_by_its_fields_without_its_module_being_imported(tmp_path):
    found = roundtrip(Pair(1, 2), tmp_path)
    assert type(found) is not Pair
    assert (found.x, found.y, type(found).__name__) == (1, 2, "Pair")
    assert type(roundtrip(Pair(1, 2), tmp_path, trust=True)) is Pair


def test_unknown_objects_are_described():
    described = to_plain({"a": object()})
    assert not is_complete(described)
    assert from_plain(described)["a"].startswith("<object")


def test_interpolation_that_does_not_resolve_is_described():
    assert not is_complete(to_plain(OmegaConf.create({"a": "${nowhere}"})))
    assert from_plain(to_plain(OmegaConf.create({"a": 1, "b": "${a}"}))) == {"a": 1, "b": 1}


def test_tensor_of_a_subclass_becomes_a_plain_one(tmp_path):
    class Own(torch.Tensor):
        pass

    found = roundtrip([torch.ones(2).as_subclass(Own)], tmp_path)[0]
    assert type(found) is torch.Tensor


@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_tensor_comes_back(tmp_path):
    value = torch.sparse_coo_tensor([[0, 2]], [1.0, 2.0], (3,))
    assert roundtrip([value], tmp_path)[0].to_dense().tolist() == [1.0, 0.0, 2.0]
