import subprocess
import sys

import pytest
import torch

from vestim_pl.callbacks.runtime.denormals import flush_denormals, is_flushing, workers_not_flushing

PROGRAM = """
import torch
torch.set_num_threads(2)
from vestim_pl.callbacks.runtime.denormals import flush_denormals, is_flushing, workers_not_flushing
{before}
flush_denormals()
{after}
print(is_flushing(), *workers_not_flushing(), torch.get_num_threads())
"""
PARALLEL = "torch.ones(1_000_000) * 2.0"


def run(before="", after=""):
    source = PROGRAM.format(before=before, after=after)
    completed = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    return completed.stdout.split()


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush subnormal numbers")
@pytest.mark.parametrize(
    ("order", "late"), [({}, "0"), ({"after": PARALLEL}, "0"), ({"before": PARALLEL}, "1")], ids=str
)
def test_workers_inherit_the_mode_only_if_it_was_set_before_they_start(order, late):
    assert run(**order) == ["True", late, "2", "2"]


def test_checking_changes_nothing():
    before = is_flushing()
    flush_denormals(True)
    assert is_flushing()
    assert is_flushing()
    flush_denormals(False)
    assert not is_flushing()
    late, workers = workers_not_flushing()
    assert 1 <= late <= workers == torch.get_num_threads()
    flush_denormals(before)
