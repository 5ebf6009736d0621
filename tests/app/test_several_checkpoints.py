"""Several checkpoints: their names, and their steps in one table."""

import pandas as pd
import pytest

from vestim_pl.app.several_checkpoints import load_several, paths_of, short_names, side_by_side
from vestim_pl.errors import ConfigurationError


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["outputs/1/checkpoints/best.ckpt", "outputs/2/checkpoints/best.ckpt"], ["1", "2"]),
        (["m/0/a/best.ckpt", "m/1/b/best.ckpt"], ["0/a", "1/b"]),
        (["a/best.ckpt", "a/last.ckpt"], ["best", "last"]),
        (["a/best.ckpt", "a/b/best.ckpt"], ["a/best.ckpt", "a/b/best.ckpt"]),
    ],
)
def test_names_are_the_parts_in_which_paths_differ(paths, names):
    assert short_names(paths) == names


def test_a_path_named_twice_and_an_empty_list_are_refused():
    with pytest.raises(ConfigurationError, match=r"^ckpt_path: a\.ckpt is named twice"):
        load_several(["a.ckpt", "b.ckpt", "a.ckpt"])
    with pytest.raises(ConfigurationError, match=r"^ckpt_path: the list is empty"):
        paths_of([])


def test_steps_of_one_checkpoint_stay_and_of_several_have_its_name_first():
    steps = pd.DataFrame({"recording": ["a", "b"], "measured": [3.7, 3.8]})
    assert side_by_side({"x": steps}) is steps
    joined = side_by_side({"x": steps, "y": steps})
    assert list(joined) == ["checkpoint", "recording", "measured"]
    assert joined["checkpoint"].tolist() == ["x", "x", "y", "y"]
