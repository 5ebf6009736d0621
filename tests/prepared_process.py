"""Programs that start clean without the seconds that imports take."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[1]

# Import the modules, then fork for every line of standard input. The child runs the program and ends as Python does.
SERVER = """
import importlib, json, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
os.chdir(job["folder"])
for descriptor, name in enumerate((os.devnull, "out", "err")):
    path = os.path.join(job["output"], name)  # an absolute name stays as it is
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
os.environ.update(job["environment"])
sys.argv = ["-c", *job["arguments"]]
exec(job["program"], {"__name__": "__main__"})
"""


class PreparedProcess:
    """Interpreter that has imported modules and does nothing else, so a fork of it is as good as a new one.

    A fork of the test process is not: it has imported everything, and the threads of its tensor operations are lost.

    Args:
        modules: What is imported before any program runs.
        output: Existing folder for what the programs print.

    """

    def __init__(self, modules: Sequence[str], output: Path) -> None:
        self.output = output
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def run(
        self, program: str, *arguments: str, folder: Path = Path(), environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the source of a program in a folder, as ``python -c`` does."""
        job = {
            "program": program, "arguments": arguments, "folder": str(folder.absolute()), "output": str(self.output),
            "environment": dict(environment or {}),
        }  # fmt: skip
        print(json.dumps(job), file=self._server.stdin, flush=True)
        status = int(self._server.stdout.readline())
        out, err = ((self.output / name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(arguments, status, out, err)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.communicate()  # the end of its input ends it
