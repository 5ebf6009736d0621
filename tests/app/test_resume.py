"""A checkpoint that cannot be resumed from is refused before the training starts."""

import pytest
import torch
from torch import nn

from vestim_pl.app.early_check import refuse_missing_checkpoint
from vestim_pl.app.resume import refuse_unfit_checkpoint
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
