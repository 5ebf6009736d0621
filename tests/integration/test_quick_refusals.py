"""A mistake on the command line is refused before torch, Lightning and the like are imported."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.prepared_process import PreparedProcess

HEAVY = ("lightning", "matplotlib", "pandas", "pyarrow", "pytorch_lightning", "scipy", "torch")
RUN = f"""
import atexit, runpy, sys
heavy = {HEAVY!r}
atexit.register(lambda: print("imported:", *sorted({{name.partition(".")[0] for name in sys.modules}} & set(heavy))))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedProcess]:
    """Hydra, OmegaConf and pydantic are imported by every command; what they import counts too."""
    with PreparedProcess(["hydra", "pydantic"], tmp_path_factory.mktemp("printed")) as process:
        yield process


def run(prepared: PreparedProcess, folder: Path, module: str, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard error, and the heavy packages that the command has imported at its end."""
    done = prepared.run(RUN, f"vestim_pl.{module}", *arguments, folder=folder)
    return done.returncode, done.stderr, done.stdout.rpartition("imported:")[2].strip()


NEEDS = {"train": [], "diagnose": [], "evaluate": ["ckpt_path=x.ckpt"], "export": ["ckpt_path=x.ckpt"],
         "predict": ["checkpoint=x.ckpt", "input=in", "output=out"]}  # fmt: skip
WRONG_TYPE = {"train": "trainer.max_epochs=many", "diagnose": "optimizer.lr=fast", "evaluate": "sampling.lookback=x",
              "export": "path=[1]", "predict": "format=[csv]"}  # fmt: skip
MISTAKES = [
    *((command, "sede=1", "error: sede: no such key") for command in NEEDS),
    *((command, "+sede=1", "error: sede: no such key") for command in NEEDS),
    *((command, value, f"error: {value.partition('=')[0]}: ") for command, value in WRONG_TYPE.items()),
    *((command, "+preset=saver", "error: preset=saver: no such choice; did you mean safer?") for command in NEEDS),
    *((command, "saver", "error: saver: is not key=value") for command in NEEDS),
    ("train", "+sampling.lokback=3", "error: sampling.lokback: no such key; did you mean lookback?"),
    ("train", "+network.droput=0.1", "error: network.droput: no such key; did you mean dropout?"),
    ("train", "+optimizer.weight_decey=1", "error: optimizer.weight_decey: no such key; did you mean weight_decay?"),
    ("train", "data=folder", "error: data.root: has no value"),
    ("train", "vestim=nowhere.json", "error: nowhere.json: does not exist"),
    ("diagnose", "vestim=nowhere.json", "error: nowhere.json: does not exist"),
    ("train", "ckpt_path=nowhere.ckpt", "error: ckpt_path: nowhere.ckpt is not a file"),
    ("evaluate", "ckpt_path=nowhere.ckpt", "error: ckpt_path: nowhere.ckpt is not a file"),
    ("export", "ckpt_path=nowhere.ckpt", "error: ckpt_path: nowhere.ckpt is not a file"),
    ("evaluate", "ckpt_path=[x.ckpt,nowhere.ckpt]", "error: ckpt_path: nowhere.ckpt is not a file"),
    ("predict", "checkpoint=nowhere.ckpt", "error: checkpoint: nowhere.ckpt is not a file"),
    ("predict", "data.units.curent=mA", "error: data.units.curent: no such key"),
    ("train", "ckpt_path=[x.ckpt,x.ckpt]", "error: ckpt_path: ['x.ckpt', 'x.ckpt'] is a list"),
]


@pytest.mark.parametrize(("command", "argument", "message"), MISTAKES)
def test_a_mistake_is_refused_before_anything_heavy_is_imported(prepared, command, argument, message, tmp_path):
    (tmp_path / "x.ckpt").touch()
    needed = [] if argument.startswith("ckpt_path") else NEEDS[command]
    status, error, imported = run(prepared, tmp_path, command, *needed, argument)
    assert status == 1
    assert error.startswith(message)
    assert len(error.splitlines()) == 1
    assert imported == ""
    if argument == "sede=1":  # found by Hydra, before it makes the run folder
        assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]


@pytest.mark.parametrize("command", NEEDS)
@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"]])
def test_help_and_the_configuration_are_printed_without_anything_heavy(prepared, command, arguments, tmp_path):
    status, error, imported = run(prepared, tmp_path, command, *NEEDS[command], *arguments)
    assert (status, error, imported) == (0, "", "")
