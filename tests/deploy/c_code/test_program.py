"""What a program is said to cost is what a compiler makes of it."""

import re
import shutil
import subprocess
from itertools import product

import pytest

from tests.deploy.c_code.c_library import FLAGS, compile_c
from tests.deploy.estimators import KINDS, make_estimator
from tests.pairs import some
from vestim_pl.deploy.c_code.generator import c_files, c_program
from vestim_pl.deploy.facts import model_facts

FAST = [("GRU", False), ("LSTM_LPF", True), ("Transformer", True), ("fed", False)]


@pytest.mark.parametrize("case", some(product(KINDS, (False, True)), fast=FAST))
def test_flash_and_stack_are_those_of_the_object_file_and_nothing_is_static(case, tmp_path):
    name, quantize = case
    if shutil.which("size") is None:
        pytest.skip("binutils are not installed")
    estimator = make_estimator(name)
    program = c_program(estimator, "cell", quantize)
    for file, text in c_files(estimator, program, model_facts(estimator)).items():
        (tmp_path / file).write_text(text)
    compile_c(tmp_path, *FLAGS, "-Os", "-fno-inline", "-fstack-usage", "-c", "cell.c", "-o", "cell.o")
    printed = subprocess.run(["size", "-A", "cell.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    sections = {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)", printed, re.MULTILINE)}
    assert sections[".data"] == sections[".bss"] == 0
    padding = 32 * len(program.constants)  # x86 aligns arrays to 32 bytes
    assert program.flash_bytes <= sections[".rodata"] <= program.flash_bytes + padding

    frames = dict(re.findall(r":(\w+)[.\w]*\t(\d+)\t(?:static|dynamic,bounded)", (tmp_path / "cell.su").read_text()))
    arrays = {function.name: function.buffer_bytes for function in program.functions}
    for function, size in arrays.items():
        assert size <= int(frames[function]) <= size + 256  # saved registers and alignment
    members = [size for function, size in arrays.items() if not function.endswith("_step")]
    assert program.stack_bytes == arrays["cell_step"] + max(members)


def test_multiply_adds_are_those_of_the_matrices():
    program = c_program(make_estimator("GRU"))  # 3 -> GRU 12 -> GRU 6 -> 1, and 3 -> 9 -> 5 -> 1 beside it
    assert program.multiply_adds == 3 * 12 * (3 + 12) + 3 * 6 * (12 + 6) + 6 + 3 * 9 + 9 * 5 + 5
    assert program.calls == {"expf": 2 * (12 + 6), "tanhf": 12 + 6 + 9 + 5}


def test_an_ensemble_costs_its_members_and_the_stack_of_one():
    one, three = (c_program(make_estimator("LSTM_EMA", members=members)) for members in (1, 3))
    shared = 2 * 3 * 4  # means and deviations of three features
    assert three.flash_bytes - shared == 3 * (one.flash_bytes - shared)
    assert three.state_bytes - 4 == 3 * (one.state_bytes - 4)  # the flag of the first sample is shared
    assert three.multiply_adds == 3 * one.multiply_adds
    assert three.stack_bytes == one.stack_bytes
