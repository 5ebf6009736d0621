"""The checkpoint that a run resumes from: which one is taken, and which are refused before the training starts."""

import logging
import os

import pytest
import torch
from torch import nn

from vestim_pl.app.command import run_folder
from vestim_pl.app.early_check import refuse_missing_checkpoint
from vestim_pl.app.resume import newest_checkpoint, refuse_unfit_checkpoint, resolve_checkpoint
from vestim_pl.errors import ConfigurationError


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    training = {
        "epoch": 1,
        "global_step": 8,
        "loops": {},
        "callbacks": {},
        "optimizer_states": [{}],
        "lr_schedulers": [],
    }
    torch.save({"state_dict": nn.Linear(3, 2).state_dict(), **training}, path)
    return str(path)


def test_the_same_shapes_pass(checkpoint):
    refuse_missing_checkpoint(checkpoint)
    refuse_unfit_checkpoint(checkpoint, nn.Linear(3, 2))


def test_other_sizes_are_named(checkpoint):
    with pytest.raises(ConfigurationError, match=r"ckpt_path: .*other settings: bias is \[2\] there and \[5\] here"):
        refuse_unfit_checkpoint(checkpoint, nn.Linear(3, 5))


def test_a_weight_of_one_side_alone_is_named(checkpoint):
    with pytest.raises(ConfigurationError, match=r"bias is \[2\] there and none here"):
        refuse_unfit_checkpoint(checkpoint, nn.Linear(3, 2, bias=False))


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "notes.md"
    path.write_text("# notes")
    with pytest.raises(ConfigurationError, match=r"notes\.md is no checkpoint of a training"):
        refuse_unfit_checkpoint(str(path), nn.Linear(3, 2))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    return tmp_path / "run" / "checkpoints"


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO, logger="vestim_pl")


def write(path, step, weight=1.0):
    content = {
        "state_dict": {"weight": torch.full((500,), weight)}, "epoch": step // 10, "global_step": step, "loops": {},
        "callbacks": {}, "optimizer_states": [{}], "lr_schedulers": [],
    }  # fmt: skip
    torch.save(content, path)
    return path


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[content.index(torch.ones(500).numpy().tobytes()) + 1000] ^= 1
    path.write_bytes(content)


def test_the_one_with_the_most_steps_is_taken_whatever_the_clock_of_the_disk_says(folder, caplog):
    """A folder that was copied has other times."""
    write(folder / "last.ckpt", 30)
    write(folder / "best.ckpt", 20)
    os.utime(folder / "last.ckpt", (1, 1))
    assert resolve_checkpoint("auto", folder.parent) == str(folder / "last.ckpt")
    assert caplog.messages == [f"ckpt_path=auto: resuming from {folder}/last.ckpt, step 30 of epoch 3"]


def test_of_the_same_step_the_later_one_is_taken(folder):
    for name, time in (("a", 1), ("b", 3), ("c", 2)):
        os.utime(write(folder / f"{name}.ckpt", 30), (time, time))
    assert newest_checkpoint(folder)[0].name == "b.ckpt"


def test_a_damaged_and_a_non_finite_one_are_named_and_left_out(folder, caplog):
    flip_a_bit(write(folder / "last.ckpt", 40))
    write(folder / "other.ckpt", 30, weight=float("nan"))
    write(folder / "best.ckpt", 20)
    write(folder / "last.ckpt.partial", 50)
    assert resolve_checkpoint("auto", folder.parent) == str(folder / "best.ckpt")
    damaged, nonfinite, taken = caplog.messages
    assert "last.ckpt is damaged" in damaged
    assert "other.ckpt has non-finite numbers: weight (500 NaN of 500)" in nonfinite
    assert "resuming from" in taken


def test_the_last_good_one_comes_after_those_that_resume_exactly(folder):
    write(folder / "last_good.ckpt", 35)
    assert newest_checkpoint(folder)[0].name == "last_good.ckpt"
    write(folder / "last.ckpt", 30)
    assert newest_checkpoint(folder)[0].name == "last.ckpt"


def test_a_truncated_one_is_named_though_its_step_is_unknown(folder, caplog):
    os.truncate(write(folder / "last.ckpt", 40), 700)
    write(folder / "best.ckpt", 20)
    assert newest_checkpoint(folder)[0].name == "best.ckpt"
    assert "last.ckpt is damaged or cut off" in caplog.messages[0]


def test_without_a_sound_one_nothing_starts_over_what_is_there(folder):
    flip_a_bit(write(folder / "last.ckpt", 40))
    with pytest.raises(
        ConfigurationError, match=r"^ckpt_path=auto: no checkpoint in .* can be resumed \(.*last\.ckpt is damaged"
    ):
        resolve_checkpoint("auto", folder.parent)


def test_without_any_it_starts_from_the_beginning_and_says_so(tmp_path, caplog):
    assert resolve_checkpoint("auto", tmp_path) is None
    assert caplog.messages == [f"ckpt_path=auto: no checkpoint in {tmp_path}/checkpoints; starting from the beginning"]


def test_a_given_path_stays(tmp_path):
    assert resolve_checkpoint("some.ckpt", tmp_path) == "some.ckpt"
    assert resolve_checkpoint(None, tmp_path) is None


def test_the_folder_is_that_of_the_run_that_wrote_last(tmp_path):
    for number, run in enumerate(["2026-01-02/03-04-05", "2026-01-01/09-09-09", "slurm-17"]):
        path = tmp_path / "outputs" / run / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        os.utime(write(path, 10), (number, number))
        assert run_folder("auto") == f"outputs/{run}"


def test_without_a_run_the_folder_is_a_new_one(tmp_path):
    assert run_folder("auto").startswith("outputs/2")
