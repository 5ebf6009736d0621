"""The page on deployment: every command and example runs in one folder, and all of them give the same voltages."""

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.deploy.c_code.c_library import compile_c
from tests.integration.forked import run_module

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "deploy.md").read_text()
BLOCKS = re.findall(r"```(bash|python|c)\n(.*?)```", PAGE, flags=re.DOTALL)
SHORT = ("trainer.max_epochs=1", "test=false", "data.rc_pairs=[5,50,500]")  # instead of the page's 80 epochs
NEEDS_OTHER_DATA = "scripts/benchmarks/"  # tests/scripts runs it


def run_command(line: str, folder: Path) -> None:
    words = shlex.split(line)
    if words[:2] == ["python", "-m"]:
        extra = SHORT if words[2] == "vestim_pl.train" else ()
        done = run_module(folder, words[2], *words[3:], *extra)
    else:
        done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (line, done.stderr)


@pytest.mark.slow
def test_every_command_and_example_runs_and_all_give_the_same_voltages(tmp_path):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="the extra 'onnx' is not installed")
    names: dict = {}
    for language, text in BLOCKS:
        if language == "bash":
            for line in text.splitlines():
                if NEEDS_OTHER_DATA not in line:
                    run_command(line, tmp_path)
        elif language == "python":
            exec(compile(text, "deploy.md", "exec"), names)
        else:
            (tmp_path / "firmware" / "task.c").write_text(text)
            compile_c(tmp_path / "firmware", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", "task.c")
    from_c = pd.read_csv("voltages.csv")["Voltage"].to_numpy()
    assert len(from_c) == len(names["recording"]) > 500
    for other in (names["from_onnx"], names["from_torch"], from_c):
        np.testing.assert_allclose(other, names["streamed"], rtol=0, atol=1e-5)
    assert (tmp_path / "firmware_int8" / "cell_voltage.c").is_file()
    assert names["about"]["features"] == ["SOC", "Current", "Temp"]


def test_the_state_of_a_default_transformer_is_what_the_page_says():
    from tests.deploy.estimators import make_estimator
    from vestim_pl.deploy.c_code.generator import c_program

    program = c_program(make_estimator("Transformer", hidden_sizes=[32], heads=4, lookback=200))
    assert re.search(r"that is (\d+) kB for each cell", PAGE)[1] == f"{program.state_bytes / 1000:.0f}"
