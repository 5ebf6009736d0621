"""A folder of C files is checked before it is written, and whole or absent."""

import shutil
import subprocess

import numpy as np
import pytest
import torch

from tests.deploy.c_code.c_library import require_compiler
from tests.deploy.estimators import make_estimator, make_inputs
from vestim_pl.deploy.c_code import c_export
from vestim_pl.deploy.c_code.c_export import export_c
from vestim_pl.deploy.facts import Intervals, ModelFacts
from vestim_pl.errors import ConfigurationError, FileError, VestimError

FILES = ["Makefile", "cell_voltage.c", "cell_voltage.h", "cell_voltage_weights.h", "main.c"]
FACTS = ModelFacts(
    features=("SOC", "Current", "Temp"),
    units={"Current": "A"},
    network={"name": "FNN"},
    version="1.2.3",
    interval=0.5,
    ranges={"SOC": (0.25, 0.75), "Temp": (-10.0, 40.0)},
    intervals=Intervals(0.9, 2, (0.0, 25.0), (0.03, 0.02, 0.01)),
)
HEADER = "SOC,Current,Temp"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def build_and_run(folder, text):
    require_compiler()
    subprocess.run(["make", "-s", "CC=gcc"], cwd=folder, check=True)
    (folder / "recording.csv").write_text(text)
    return subprocess.run(["./cell_voltage", "recording.csv"], cwd=folder, capture_output=True, text=True, check=False)


def test_the_makefile_builds_what_reads_a_csv(tmp_path):
    estimator = make_estimator("fed")
    result = export_c(estimator, tmp_path / "c")
    assert names(tmp_path / "c") == FILES
    assert result.difference < 1e-5
    assert result.rounding is None
    rows = make_inputs(1, 50)[0]
    lines = [f"{index}, {row[1]:.9g} ,{row[0]:.9g},3.7,{row[2]:.9g}" for index, row in enumerate(rows.tolist())]
    done = build_and_run(tmp_path / "c", "\n".join(["Time,Current,SOC,Voltage,Temp", *lines]))  # no end of line
    printed, *volts = done.stdout.splitlines()
    assert printed == "Voltage"
    with torch.inference_mode():
        expected = estimator(rows[None])[0][0].numpy()
    np.testing.assert_allclose(np.array(volts, float), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "error: recording.csv has no column SOC"),
        ("SOC,Curent,Temp\n1,2,3\n", "error: recording.csv has no column Current"),
        (f"{HEADER}\n0.5,1,20\n0.5,,20\n", "error: line 3: Current is '', not a finite number"),
        (f"{HEADER}\n0.5,1\n", "error: line 2: Temp is '', not a finite number"),
        (f"{HEADER}\n0.5,1x,20\n", "error: line 2: Current is '1x', not a finite number"),
        (f"{HEADER}\n0.5,nan,20\n", "error: line 2: Current is 'nan', not a finite number"),
        (f"{HEADER}\n0.5,1e60,20\n", "error: line 2: Current is '1e60', not a finite number"),
        (f"{HEADER}\n0.5,{'1' * 70_000},20\n", "error: line 2 is too long"),
    ],
)
def test_a_bad_csv_is_one_line(built, text, problem):
    done = build_and_run(built, text)
    assert done.returncode == 1
    assert done.stderr.strip() == problem


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "c"
    export_c(make_estimator("FNN"), folder, FACTS)
    return folder


def test_ranges_intervals_and_sampling_time_are_in_the_code(built):
    header = (built / "cell_voltage.h").read_text()
    assert "#define CELL_VOLTAGE_INTERVAL_S 0.5f" in header
    assert "float soc;     /* SOC; trained on 0.25 to 0.75 */" in header
    assert "vestim_pl 1.2.3" in header
    rows = [(0.5, -100.0, -10.0), (0.2, 0.0, 0.0), (0.5, 0.0, 24.9), (0.75, 0.0, 25.0), (0.5, 0.0, 41.0)]
    done = build_and_run(built, "\n".join([HEADER, *(",".join(map(str, row)) for row in rows)]))
    printed, *lines = done.stdout.splitlines()
    assert printed == "Voltage,Lower,Upper,Outside"
    table = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    assert table[:, 3].tolist() == [0, 1, 0, 0, 1]
    half_widths = [0.03, 0.02, 0.02, 0.01, 0.01]  # by temperature; a band includes its lower border
    np.testing.assert_allclose(table[:, 0] - table[:, 1], half_widths, atol=1e-6)
    np.testing.assert_allclose(table[:, 2] - table[:, 0], half_widths, atol=1e-6)


def test_the_header_can_be_included_from_cpp(built):
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    (built / "check.cpp").write_text(
        '#include "cell_voltage.h"\n#include "cell_voltage.h"\n'
        "float one() { cell_voltage_state s = {}; cell_voltage_inputs i = {0.5f, -1.0f, 20.0f};"
        " return cell_voltage_step(&s, &i); }\n"
    )
    command = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wno-missing-field-initializers"]
    subprocess.run([*command, "-c", "check.cpp", "-o", "check.o"], cwd=built, check=True)
    symbols = (built / "check.o").read_bytes()
    assert b"cell_voltage_step\0" in symbols  # and not a mangled name


def test_one_band_needs_no_temperature(tmp_path):
    facts = ModelFacts(FACTS.features, {}, {}, "1", intervals=Intervals(0.9, None, (), (0.05,)))
    export_c(make_estimator("FNN"), tmp_path / "c", facts)
    [_, line] = build_and_run(tmp_path / "c", f"{HEADER}\n0.5,1,20\n").stdout.splitlines()
    volts, lower, upper = map(float, line.split(","))
    assert (volts - lower, upper - volts) == pytest.approx((0.05, 0.05), abs=1e-6)


def test_another_export_replaces_an_earlier_one_even_if_that_was_built(tmp_path):
    estimator = make_estimator("FNN")
    export_c(estimator, tmp_path / "c")
    first = (tmp_path / "c" / "cell_voltage_weights.h").read_text()
    (tmp_path / "c" / "cell_voltage").touch()
    (tmp_path / "c" / "cell_voltage.o").touch()
    export_c(estimator, tmp_path / "c", quantize=True)
    assert names(tmp_path / "c") == FILES
    assert (tmp_path / "c" / "cell_voltage_weights.h").read_text() != first
    assert names(tmp_path) == ["c"]


def test_other_files_are_not_lost(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigurationError, match=r"^path: .* has other files, such as thesis.tex; give a new folder"):
        export_c(make_estimator("FNN"), tmp_path)
    with pytest.raises(ConfigurationError, match=r"^path: .*thesis.tex is a file; format=c writes a folder"):
        export_c(make_estimator("FNN"), tmp_path / "thesis.tex")
    assert names(tmp_path) == ["thesis.tex"]


def test_code_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    require_compiler()
    estimator = make_estimator("FNN")
    original = c_export.c_program

    def wrong(given, *arguments):
        with torch.no_grad():
            given.network.head.bias += 0.01
        program = original(given, *arguments)
        with torch.no_grad():
            given.network.head.bias -= 0.01
        return program

    monkeypatch.setattr(c_export, "c_program", wrong)
    with pytest.raises(VestimError, match=r"^export: the C code differs from the estimator by 0\.00.* nothing was"):
        export_c(estimator, tmp_path / "c")
    assert not names(tmp_path)


def test_code_that_does_not_compile_is_not_written(tmp_path, monkeypatch):
    require_compiler()
    original = c_export.c_files
    monkeypatch.setattr(c_export, "c_files", lambda *given: original(*given) | {"main.c": "int main(void) {"})
    with pytest.raises(
        VestimError, match=r"^export: gcc failed on the generated C code: .*; nothing was written"
    ) as caught:
        export_c(make_estimator("FNN"), tmp_path / "c")
    assert "\n" not in str(caught.value)
    assert not names(tmp_path)


def test_without_a_compiler_the_files_are_written_unchecked(tmp_path, monkeypatch):
    monkeypatch.setattr(c_export, "c_compiler", lambda: None)
    assert export_c(make_estimator("FNN"), tmp_path / "c").difference is None
    assert names(tmp_path / "c") == FILES


def test_a_full_disk_leaves_the_earlier_export(tmp_path, monkeypatch):
    export_c(make_estimator("FNN"), tmp_path / "c")
    before = {path.name: path.read_text() for path in (tmp_path / "c").iterdir()}
    write = c_export.Path.write_text

    def fails(self, text, **options):
        if self.name == "main.c" and self.parent.name == "c.partial":
            raise OSError(28, "No space left on device")
        return write(self, text, **options)

    monkeypatch.setattr(c_export.Path, "write_text", fails)
    with pytest.raises(FileError, match="the disk is full"):
        export_c(make_estimator("FNN", history=2), tmp_path / "c")
    assert {path.name: path.read_text() for path in (tmp_path / "c").iterdir()} == before
    assert names(tmp_path) == ["c"]


def test_the_same_checkpoint_gives_the_same_files(tmp_path):
    for folder in ("a", "b"):
        export_c(make_estimator("fed"), tmp_path / folder)
    assert all((tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text() for name in FILES)
