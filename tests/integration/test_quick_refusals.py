"""A mistake on the command line is refused before torch, Lightning and the like are imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("lightning", "matplotlib", "pandas", "pyarrow", "pytorch_lightning", "scipy", "torch")
RUN = """
import atexit, runpy, sys
heavy = {heavy!r}
atexit.register(lambda: print("imported:", *sorted({{name.partition(".")[0] for name in sys.modules}} & set(heavy))))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run(folder: Path, module: str, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard error, and the heavy packages that the command has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(heavy=HEAVY), f"vestim_pl.{module}", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
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
def test_a_mistake_is_refused_before_anything_heavy_is_imported(command, argument, message, tmp_path):
    (tmp_path / "x.ckpt").touch()
    needed = [] if argument.startswith("ckpt_path") else NEEDS[command]
    status, error, imported = run(tmp_path, command, *needed, argument)
    assert status == 1
    assert error.startswith(message)
    assert len(error.splitlines()) == 1
    assert imported == ""


@pytest.mark.parametrize("command", NEEDS)
@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"]])
def test_help_and_the_configuration_are_printed_without_anything_heavy(command, arguments, tmp_path):
    status, error, imported = run(tmp_path, command, *NEEDS[command], *arguments)
    assert (status, error, imported) == (0, "", "")


def test_the_callbacks_import_little_beside_lightning():
    """Lightning itself imports matplotlib and scipy; omegaconf is forbidden by a contract of import-linter."""
    code = "import sys, {}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    found = {
        module: set(subprocess.check_output([sys.executable, "-c", code.format(module)], text=True).split())
        for module in ("lightning.pytorch", "vestim_pl.callbacks")
    }
    more = found["vestim_pl.callbacks"] - found["lightning.pytorch"]
    assert not more & {"hydra", "matplotlib", "pandas", "pyarrow", "scipy"}
