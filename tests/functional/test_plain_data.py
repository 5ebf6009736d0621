import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.optim import Optimizer

from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.functional.plain_data import class_path, from_plain, import_named, is_complete, to_plain
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


def test_what_is_not_plain_is_described_and_told():
    described = to_plain({"a": object()})
    assert not is_complete(described)
    assert from_plain(described)["a"].startswith("<object")


@pytest.mark.parametrize(
    "path",
    [
        "os:system",
        "vestim_pl.command:os.system",  # a trusted module that imported it
        "vestim_pl.functional.plain_data:importlib.import_module",
        "vestim_plus:Thing",
        "vestim_pl.py:Thing",  # a file beside, not the package
        "vestim_pl./evil.py:Thing",
        "lightning.pytorch:LightningModule",
        "vestim_pl.estimator:LightningModule",  # a trusted module, a class from elsewhere
        "vestim_pl.functional.bundle_file:write_bundle",
        "",
        ":",
    ],
)
def test_untrusted_paths_are_not_imported(path):
    with pytest.raises(ConfigurationError, match="--trust"):
        import_named(path, object if "Lightning" not in path else pl.LightningModule)


def test_class_must_be_of_the_kind_asked_for():
    assert import_named("torch.optim:Adam", Optimizer) is torch.optim.Adam
    with pytest.raises(ConfigurationError, match="--trust"):
        import_named("torch.optim:Adam", pl.LightningModule)
    with pytest.raises(ConfigurationError, match="is no LightningModule"):
        import_named("torch.optim:Adam", pl.LightningModule, trust=True)


@pytest.mark.parametrize("path", ["no_such_module:Thing", "pathlib:Nothing", "pathlib"])
def test_path_that_leads_nowhere(path):
    with pytest.raises(ConfigurationError, match=r"cannot be imported|is no Path"):
        import_named(path, Path, trust=True)


def test_class_path_leads_back():
    assert import_named(class_path(torch.optim.AdamW), Optimizer) is torch.optim.AdamW


SCRIPT = """
import sys
from collections import namedtuple
from dataclasses import dataclass
from beside import VALUE
@dataclass
class Mine:
    value: int = VALUE
if __name__ == "__main__":
    from vestim_pl.functional.plain_data import class_path
    print(class_path(Mine))
"""


def test_class_of_the_script_that_ran_comes_from_its_file(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "beside.py").write_text("VALUE = 7")
    (folder / "train.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "project/train.py"], capture_output=True, text=True, check=True)
    path = done.stdout.strip()
    assert path == f"{folder / 'train.py'}:Mine"
    with pytest.raises(ConfigurationError, match="--trust"):
        import_named(path, object)
    kind = import_named(path, object, trust=True)
    assert kind().value == 7
    assert kind is import_named(path, object, trust=True)


def test_script_that_is_gone_or_broken_and_a_notebook():
    Path("broken.py").write_text("1 / 0")
    for path, words in (("gone.py:A", "gone.py"), ("broken.py:A", "division by zero"), ("__main__:A", "notebook")):
        with pytest.raises(ConfigurationError, match=words) as error:
            import_named(path, object, trust=True)
        assert "\n" not in str(error.value)


def test_interpolation_that_leads_nowhere_is_described():
    assert not is_complete(to_plain(OmegaConf.create({"a": "${nowhere}"})))
    assert from_plain(to_plain(OmegaConf.create({"a": 1, "b": "${a}"}))) == {"a": 1, "b": 1}


def test_tensor_of_a_subclass_becomes_a_plain_one(tmp_path):
    class Own(torch.Tensor):
        pass

    found = roundtrip([torch.ones(2).as_subclass(Own)], tmp_path)[0]
    assert type(found) is torch.Tensor
