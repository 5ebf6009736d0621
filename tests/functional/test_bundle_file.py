import json
import pickle

import pytest
import torch

from vestim_pl.functional.bundle_file import package_versions, read_bundle, tensor_megabytes, write_bundle
from vestim_pl.functional.errors import ConfigurationError


def test_comes_back_and_can_be_read_by_a_person(tmp_path):
    path = tmp_path / "new" / "bundle.pt"
    write_bundle(path, {"weights": {"a": torch.ones(2)}}, {"reason": "loss", "rate": 0.1, "odd": {1, 2}})
    bundle = read_bundle(path)
    assert torch.equal(bundle["weights"]["a"], torch.ones(2))
    assert bundle["summary"] == {"reason": "loss", "rate": 0.1, "odd": "{1, 2}"}
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
    with pytest.raises(ConfigurationError, match="there is no such file"):
        read_bundle(tmp_path / "none.pt")


def test_size_counts_tensors_at_any_depth():
    assert tensor_megabytes({"a": [torch.zeros(1000)], "b": (torch.zeros(1000).half(), "text")}) == 0.006


def test_versions():
    found = package_versions(["torch", "no-such-package"])
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["no-such-package"] == "not installed"
