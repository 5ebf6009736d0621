"""Which files of an untidy folder are read, and how the others are reported."""

import os
import socket

import pytest

from vestim_pl.data.formats.reading import CONVERTERS
from vestim_pl.data.formats.split_files import list_split
from vestim_pl.data.split_reader import SplitReader, find_recordings
from vestim_pl.errors import DataError


def names(files, folder):
    return [path.relative_to(folder).as_posix() for path in files.recordings]


@pytest.fixture
def train(tmp_path):
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("x")
    return folder


def test_nothing_is_opened_and_everything_that_is_not_read_is_named_once_by_kind(train, tmp_path):
    (train / "B.CSV").write_text("x")
    os.mkfifo(train / "pipe.csv")
    (train / "gone.parquet").symlink_to(tmp_path / "nowhere")
    (train / "loop.csv").symlink_to(train / "loop.csv")
    (train / "null.csv").symlink_to("/dev/null")
    for name in ("Notes on cell 7.txt", "c.md", "raw.mpr", "raw.RES", "_old.csv", "._a.csv", ".DS_Store", "_SUCCESS"):
        (train / name).write_text("x")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(train)
        listener.bind("s.csv")
        files = list_split(train)
    assert names(files, train) == ["B.CSV", "a.csv"]
    assert files.unread == {
        "a pipe": ["pipe.csv"],
        "a socket": ["s.csv"],
        "a device": ["null.csv"],
        "a link to nothing": ["gone.parquet"],
        "a link that leads back to itself": ["loop.csv"],
        "a text about the data": ["Notes on cell 7.txt"],
        CONVERTERS[".mpr"]: ["raw.mpr"],
        CONVERTERS[".res"]: ["raw.RES"],
        "no known format": ["c.md"],
        "the name begins with . or _": ["._a.csv", "_old.csv"],
    }
    assert files.describe_unread().startswith("11 files not read: raw.mpr (a binary file of EC-Lab; export it there")


def test_linked_folders_are_read_once_and_loops_are_not_followed(train, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "e.csv").write_text("x")
    (train / "cold").mkdir()
    (train / ".trash").mkdir()
    (train / ".trash" / "t.csv").write_text("x")
    (train / "cold" / "c.csv").write_text("x")
    (train / "again").symlink_to(train / "cold")
    (train / "cold" / "up").symlink_to(train)
    (train / "cold" / "root").symlink_to(tmp_path)
    (train / "far").symlink_to(elsewhere)
    (elsewhere / "deep" / "back").symlink_to(elsewhere)
    (train / "one.csv").symlink_to(elsewhere / "deep" / "e.csv")
    files = list_split(train)
    assert names(files, train) == ["a.csv", "cold/c.csv", "far/deep/e.csv", "one.csv"]
    assert files.unread.pop("a hidden folder") == [".trash"]
    [(reason, links)] = files.unread.items()
    assert "a link to a folder that is read already" in reason
    assert sorted(links) == ["again", "cold/root", "cold/up", "far/deep/back"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_a_folder_without_permission_is_named(train):
    (train / "locked").mkdir(mode=0)
    assert "locked (a folder that cannot be opened: Permission denied)" in list_split(train).describe_unread()


def test_a_reader_says_it_in_one_line_a_split_and_a_folder_without_recordings_says_what_it_has(
    tmp_path, recording, caplog
):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        recording(30, seed=len(split)).to_csv(tmp_path / split / "a.csv", index=False)
    os.mkfifo(tmp_path / "train" / "pipe.csv")
    (tmp_path / "train" / "gone.csv").symlink_to("nowhere")
    SplitReader(tmp_path).read(["train", "val"])
    assert caplog.messages == ["train: 2 files not read: gone.csv (a link to nothing); pipe.csv (a pipe)"]
    (tmp_path / "train" / "a.csv").rename(tmp_path / "train" / "a.md")
    with pytest.raises(DataError, match=r"has no file that can be read .*\(3 files not read: gone.* a\.md \("):
        find_recordings(tmp_path, "train")
