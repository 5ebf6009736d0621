import pickle

import pytest
import torch

from vestim_pl.callbacks.crash_bundle.reading import read_bundle
from vestim_pl.errors import ConfigurationError


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
