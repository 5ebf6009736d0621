import json
import math
import pickle
import resource

import pytest
import torch

from vestim_pl.callbacks.crash_bundle.bundle_file import (
    free_path,
    package_versions,
    read_bundle,
    tensor_megabytes,
    write_bundle,
)
from vestim_pl.errors import ConfigurationError

NAN, INF = math.nan, math.inf


def test_comes_back_and_can_be_read_by_a_person(tmp_path):
    path = tmp_path / "new" / "bundle.pt"
    write_bundle(path, {"weights": {"a": torch.ones(2)}}, {"reason": "loss", "rate": 0.1, "odd": {1, 2}})
    bundle = read_bundle(path)
    assert torch.equal(bundle["weights"]["a"], torch.ones(2))
    assert bundle["summary"] == {"reason": "loss", "rate": 0.1, "odd": [1, 2]}
    assert json.loads(path.with_suffix(".json").read_text()) == bundle["summary"]


def test_view_is_saved_without_its_base(tmp_path):
    write_bundle(tmp_path / "b.pt", {"x": torch.zeros(1_000_000)[:10]}, {})
    assert (tmp_path / "b.pt").stat().st_size < 10_000


class Malicious:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize(
    "content",
    [{"format": 1, "x": Malicious()}, [1, 2], {"format": 99}],
)
def test_other_files_are_refused_and_never_run(tmp_path, content, capsys):
    torch.save(content, tmp_path / "b.pt")
    with pytest.raises(ConfigurationError, match="crash bundle"):
        read_bundle(tmp_path / "b.pt")
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"nonsense", pickle.dumps({"format": 1})])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "b.pt").write_bytes(content)
    with pytest.raises(ConfigurationError, match="crash bundle"):
        read_bundle(tmp_path / "b.pt")


def test_missing_file(tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist"):
        read_bundle(tmp_path / "none.pt")


def test_size_counts_tensors_at_any_depth():
    assert tensor_megabytes({"a": [torch.zeros(1000)], "b": (torch.zeros(1000).half(), "text")}) == 0.006


def test_versions():
    found = package_versions(["torch", "no-such-package"])
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["no-such-package"] == "not installed"


def strict(path):
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def test_json_is_strict_whatever_is_in_the_summary(tmp_path):
    summary = {"hparams": {(0, 1): 2, None: NAN}, "rates": [INF, -INF], "scale": torch.tensor([NAN]), "odd": object}
    write_bundle(tmp_path / "b.pt", {}, summary)
    told = strict(tmp_path / "b.json")
    assert told["hparams"] == {"(0, 1)": 2, "None": "NaN"}
    assert (told["rates"], told["scale"]) == (["Infinity", "-Infinity"], ["NaN"])
    assert read_bundle(tmp_path / "b.pt")["summary"] == told


@pytest.fixture
def small_disk():
    """Files of this process end after 20 kB, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing_torn(tmp_path, small_disk):
    with pytest.raises((OSError, RuntimeError)):
        write_bundle(tmp_path / "tensors.pt", {"x": torch.zeros(100_000)}, {})
    with pytest.raises((OSError, RuntimeError)):
        write_bundle(tmp_path / "text.pt", {}, {"x": "x" * 100_000})
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    path, names = tmp_path / "b.pt", []
    for _ in range(3):
        names.append(free_path(path).name)
        write_bundle(free_path(path), {}, {})
    assert names == ["b.pt", "b-2.pt", "b-3.pt"]
    assert len(list(tmp_path.iterdir())) == 6
