import os
import resource
import signal
import tempfile
import time

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from vestim_pl.errors import FileError
from vestim_pl.lightning_support.checkpoint_files import (
    WholeCheckpointIO,
    keep_checkpoints_whole,
    remove_partial_checkpoints,
    write_whole,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "last.ckpt"
    WholeCheckpointIO().save_checkpoint({"weight": torch.arange(5)}, path)
    assert torch.equal(WholeCheckpointIO().load_checkpoint(path, weights_only=True)["weight"], torch.arange(5))
    assert names(tmp_path / "new") == ["last.ckpt"]


def test_nothing_passes_through_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not_there"))
    WholeCheckpointIO().save_checkpoint({"weight": torch.arange(5)}, tmp_path / "last.ckpt")
    assert names(tmp_path) == ["last.ckpt"]


def test_content_is_on_the_disk_before_the_name_and_the_name_after(tmp_path, monkeypatch):
    path, calls = tmp_path / "last.ckpt", []
    path.write_bytes(b"old")
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor):
        calls.append("folder" if os.path.samestat(os.fstat(descriptor), os.stat(tmp_path)) else "file")
        fsync(descriptor)

    def noted_replace(partial, target):
        assert (partial.read_bytes(), target.read_bytes()) == (b"new", b"old")
        calls.append("rename")
        return replace(partial, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_whole(path, b"new")
    assert calls == ["file", "rename", "folder"]


@pytest.mark.parametrize("room", [0, 1, 4096, 100_000])
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, room):
    """The limit on the size of a file stands for the disk: it fails in the middle of the write, as a full disk does."""
    path = tmp_path / "last.ckpt"
    write_whole(path, b"old")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(FileError, match=r"last\.ckpt: cannot be written: the file would be larger"):
            WholeCheckpointIO().save_checkpoint({"weight": torch.randn(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert names(tmp_path) == ["last.ckpt"]
    assert path.read_bytes() == b"old"


def test_an_interrupt_in_the_middle_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    write_whole(path, b"old")

    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert names(tmp_path) == ["last.ckpt"]
    assert path.read_bytes() == b"old"


def test_killed_while_writing_the_file_is_whole(tmp_path):
    """Thirty kills of a process that does nothing but write."""
    target = tmp_path / "last.ckpt"
    write_whole(target, bytes(3_000_000))
    caught_in_the_middle = 0
    for attempt in range(30):
        writer = os.fork()
        if writer == 0:
            while True:
                attempt += 1
                write_whole(target, bytes([attempt % 251]) * 3_000_000)
        time.sleep(0.02 + attempt * 0.0007)
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        content = target.read_bytes()
        assert len(content) == 3_000_000
        assert len(set(content)) == 1, "a file of two writes"
        caught_in_the_middle += target.with_name("last.ckpt.partial").exists()
        remove_partial_checkpoints([tmp_path])
        assert names(tmp_path) == ["last.ckpt"]
    assert caught_in_the_middle, "no kill fell into a write"


def test_a_trainer_with_a_class_of_its_own_keeps_it(tmp_path):
    class Own(WholeCheckpointIO):
        pass

    own = Own()
    trainer = Trainer(plugins=[own], logger=False, enable_checkpointing=False)
    keep_checkpoints_whole(trainer)
    assert trainer.strategy.checkpoint_io is own


def test_what_a_killed_run_left_is_removed_and_all_else_stays(tmp_path):
    for name in ("last.ckpt", "last.ckpt.partial", "last_good.ckpt.pending.partial", "notes.partial", "best.ckpt"):
        (tmp_path / name).touch()
    keeper = ModelCheckpoint(tmp_path)
    keep_checkpoints_whole(Trainer(callbacks=[keeper], logger=False, accelerator="cpu"))
    assert names(tmp_path) == ["best.ckpt", "last.ckpt", "notes.partial"]
