"""Compile generated C code and run it on a CSV file."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vestim_pl.errors import VestimError

__all__ = ["FLAGS", "c_compiler", "estimate_with_c"]

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic")


def c_compiler() -> str | None:
    """Return the path of a C compiler; None if there is none."""
    return next((found for name in ("gcc", "clang", "cc") if (found := shutil.which(name))), None)


def estimate_with_c(
    files: Mapping[str, str], name: str, features: Sequence[str], inputs: NDArray[np.float32], compiler: str
) -> NDArray[np.float32]:
    """Compile a program in a temporary folder and estimate the voltages of a recording with it.

    Args:
        files: Source text by file name.
        name: Prefix of the program.
        features: Column names.
        inputs: ``[L, F]`` features in physical units.
        compiler: Path of the compiler.

    Returns:
        ``[L]`` voltages.

    Raises:
        VestimError: If it does not compile or does not run.

    """
    with tempfile.TemporaryDirectory() as folder:
        for file, text in files.items():
            Path(folder, file).write_text(text, encoding="ascii")
        quoted = ",".join('"' + feature.replace('"', '""') + '"' for feature in features)
        rows = "\n".join(",".join(f"{value:.9g}" for value in row) for row in inputs.tolist())
        Path(folder, "recording.csv").write_text(f"{quoted}\n{rows}\n", encoding="utf-8")
        _run(folder, compiler, *FLAGS, "main.c", f"{name}.c", "-lm", "-o", "program")
        printed = _run(folder, str(Path(folder, "program")), "recording.csv")
    lines = printed.splitlines()[1:]
    return np.array([line.partition(",")[0] for line in lines], dtype=np.float64).astype(np.float32)


def _run(folder: str, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        first = next(iter((done.stderr or done.stdout).strip().splitlines()), f"exit status {done.returncode}")
        raise VestimError(
            f"export: {Path(command[0]).name} failed on the generated C code: {first}; nothing was written"
        )
    return done.stdout
