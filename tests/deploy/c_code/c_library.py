"""Compile generated C code as a shared library, to be called from tests."""

import ctypes
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from vestim_pl.deploy.c_code.compiler import FLAGS

STRICT = (*FLAGS, "-Wshadow", "-Wconversion", "-Wdouble-promotion", "-Wvla", "-Wcast-qual")
_HARNESS = """
#include <stddef.h>
#include "{name}.h"
size_t state_bytes(void);
void run({name}_state *state, const float *rows, float *volts, long count, int width);
size_t state_bytes(void) {{ return sizeof({name}_state); }}
void run({name}_state *state, const float *rows, float *volts, long count, int width)
{{
    for (long row = 0; row < count; row++) {{
        volts[row] = {name}_step(state, (const {name}_inputs *)(const void *)(rows + row * width));
    }}
}}
"""


def require_compiler() -> str:
    """Path of gcc; skips the test without it."""
    return shutil.which("gcc") or pytest.skip("gcc is not installed")


class CLibrary:
    """A compiled model, whose state is bytes that can be kept and given back, as on a device that is switched off.

    Args:
        files: Generated source by file name.
        name: Prefix of the public names.
        folder: Folder to compile in.

    """

    def __init__(self, files: Mapping[str, str], name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="ascii")
        (folder / "harness.c").write_text(_HARNESS.format(name=name))
        self.folder, self.name = folder, name
        compile_c(folder, *STRICT, "-c", "main.c")  # which the library leaves out
        compile_c(folder, *STRICT, "-shared", "-fPIC", f"{name}.c", "harness.c", "-lm", "-o", "model.so")
        self._library = ctypes.CDLL(str(folder / "model.so"))
        self._library.state_bytes.restype = ctypes.c_size_t
        self.state_bytes: int = self._library.state_bytes()

    def run(self, rows: np.ndarray, state: bytes | None = None) -> tuple[np.ndarray, bytes]:
        """Estimate ``[L]`` voltages of ``[L, F]`` rows; return them with the state after the last one."""
        rows = np.ascontiguousarray(rows, np.float32)
        volts = np.empty(len(rows), np.float32)
        memory = ctypes.create_string_buffer(state or bytes(self.state_bytes), self.state_bytes)
        pointers = (array.ctypes.data_as(ctypes.c_void_p) for array in (rows, volts))
        self._library.run(memory, *pointers, ctypes.c_long(len(rows)), ctypes.c_int(rows.shape[1]))
        return volts, memory.raw


def compile_c(folder: Path, *arguments: str) -> None:
    """Call gcc in a folder; its messages are shown if it fails."""
    done = subprocess.run([require_compiler(), *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
