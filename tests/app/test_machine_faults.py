"""Which errors the machine caused, and which are bugs of ours."""

import errno
import io
import sys

import pytest

from vestim_pl.app.machine_faults import close_output, machine_fault
from vestim_pl.errors import ConfigurationError, FileError


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "a file in {folder}, or standard output: the disk is full (",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "{folder}/a.csv"),
            "{folder}/a.csv: the file system is read-only",
        ),
        (
            OSError(errno.ENOENT, "No such file", "{folder}/run/a.csv"),
            "{folder}/run/a.csv: the folder {folder}/run is gone",
        ),
        (raised_from(RuntimeError("of a worker"), FileError("a.csv: cannot be written")), "a.csv: cannot be written"),
    ],
)
def test_a_fault_of_the_machine_is_one_line(error, told, tmp_path):
    if getattr(error, "filename", None):
        error.filename = error.filename.format(folder=tmp_path)
    assert str(machine_fault(error, tmp_path)).startswith(told.format(folder=tmp_path))


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "template.html"),
        RuntimeError("shapes differ"),
        KeyError("loss"),
        ConfigurationError("seed: is negative"),
    ],
)
def test_a_bug_of_ours_is_none(error, tmp_path):
    assert machine_fault(error, tmp_path) is None


def test_what_standard_output_could_not_take_is_an_error(monkeypatch, tmp_path):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

        def fileno(self):
            return file.fileno()

    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", Full())
        with pytest.raises(FileError, match="standard output cannot be written: no space left on device"):
            close_output()
