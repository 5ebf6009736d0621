import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch.optim import Optimizer

from vestim_pl.callbacks.crash_bundle.class_import import class_path, import_named
from vestim_pl.errors import ConfigurationError


@pytest.mark.parametrize(
    "path",
    [
        "os:system",
        "vestim_pl.app.command:os.system",  # a trusted module that imported it
        "vestim_pl.callbacks.crash_bundle.class_import:importlib.import_module",
        "vestim_plus:Thing",
        "vestim_pl.py:Thing",  # a file, not the package
        "vestim_pl./evil.py:Thing",
        "lightning.pytorch:LightningModule",
        "vestim_pl.estimator:LightningModule",  # a trusted module, a class from elsewhere
        "vestim_pl.callbacks.crash_bundle.writing:write_bundle",
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
    with pytest.raises(ConfigurationError, match="not a LightningModule"):
        import_named("torch.optim:Adam", pl.LightningModule, trust=True)


@pytest.mark.parametrize("path", ["no_such_module:Thing", "pathlib:Nothing", "pathlib"])
def test_path_that_leads_nowhere(path):
    with pytest.raises(ConfigurationError, match=r"cannot be imported|not a Path"):
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
    from vestim_pl.callbacks.crash_bundle.class_import import class_path
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
