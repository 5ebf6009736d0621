"""A file is whole or as it was before, and what the machine refuses is one line with the file's name."""

import errno
import os
import resource
from pathlib import Path

import pytest
import torch

from vestim_pl.errors import FileError
from vestim_pl.files import appending, whole_file, writing, writing_problem

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="/dev/full is there on Linux alone")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full ("), (errno.EDQUOT, "the disk quota is used up ("),
        (errno.EFBIG, "larger than this process may write; raise the limit (ulimit -f)"),
        (errno.EROFS, "the file system is read-only"), (errno.EACCES, "permission denied"),
        (errno.EPERM, "permission denied"), (errno.EIO, "the disk reports an error"),
        (errno.EMFILE, "too many files are open"),
    ],
)  # fmt: skip
def test_every_refusal_of_the_system_is_explained(number, words, tmp_path):
    path = tmp_path / "metrics.csv"
    with pytest.raises(FileError, match=r"metrics\.csv: cannot be written: ") as caught, writing(path):
        raise OSError(number, os.strerror(number))
    assert words in str(caught.value)
    assert "; " in str(caught.value)
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "x"), RuntimeError("shapes differ"), ValueError("x")]
)
def test_a_bug_of_ours_stays_one(error, tmp_path):
    with pytest.raises(type(error)) as caught, writing(tmp_path / "metrics.csv"):
        raise error
    assert caught.value is error


def test_a_missing_file_in_a_missing_folder_is_the_machines(tmp_path):
    with pytest.raises(FileError, match="is gone; was it removed or unmounted"), writing(tmp_path / "run" / "a.csv"):
        (tmp_path / "run" / "a.csv").write_text("")


@needs_full
def test_a_full_disk_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("earlier")
    (tmp_path / "report.html.partial").symlink_to(FULL)
    with (
        pytest.raises(FileError, match=r"report\.html: cannot be written: the disk is full"),
        whole_file(path) as partial,
    ):
        partial.write_text("later")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "earlier"


def test_an_error_of_the_writer_leaves_the_earlier_file_too(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("earlier")
    with pytest.raises(TypeError), whole_file(path) as partial:
        partial.write_text(b"bytes")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "earlier"


def test_what_was_appended_in_part_is_taken_back(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "skip"}\n')

    def tear(file):
        file.write('{"kind": "ro')
        file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError), appending(path), path.open("a") as file:
        tear(file)
    assert path.read_text() == '{"kind": "skip"}\n'


@needs_full
def test_torch_does_not_say_why_and_the_line_does(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError) as caught:
        torch.save(torch.zeros(100_000), FULL)
    monkeypatch.setattr("vestim_pl.files.free_megabytes", lambda path: 0.1)
    assert writing_problem(caught.value, tmp_path / "a.pt") == "the disk is full (0.1 MB free); free some space"
    monkeypatch.setattr("vestim_pl.files.free_megabytes", lambda path: 1000.0)
    assert "torch failed to write it" in str(writing_problem(caught.value, tmp_path / "a.pt"))


def test_a_limit_of_the_process(tmp_path):
    """SIGXFSZ is ignored by Python, so a write beyond the limit raises."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            with whole_file(tmp_path / "a.txt") as partial:
                partial.write_text("x" * 5000)
        except FileError as error:
            os._exit(0 if "ulimit -f" in str(error) and not partial.exists() else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("below", ["out/a.csv", "out/deeper/a.csv"])
def test_a_file_where_a_folder_should_be_is_named(tmp_path, below):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileError, match=r"/out is a file, not a folder; choose another"), writing(tmp_path / below):
        (tmp_path / below).parent.mkdir(parents=True, exist_ok=True)
    assert (tmp_path / "out").read_text() == "mine"
