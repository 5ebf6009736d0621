import os
import re
import subprocess
import sys

import pytest

from vestim_pl.lightning_support.early_signals import shorten_waits

PROGRAM = """
import os
from vestim_pl.lightning_support.early_signals import shorten_waits
print(shorten_waits(os.environ))
import torch
print("LOADED")
"""


def spins_in_a_process(**settings: str) -> list[str]:
    """The spin count that libgomp reports when torch loads it, and whether a setting was changed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**environment, "OMP_DISPLAY_ENV": "VERBOSE", **settings}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.endswith("LOADED\n")
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("torch's OpenMP is not libgomp here")
    return [done.stdout.split()[0], *re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)]


def test_libgomp_of_torch_spins_shortly():
    assert spins_in_a_process() == ["True", "3000"]


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "PASSIVE"), ("GOMP_SPINCOUNT", "77")])
def test_a_policy_of_the_user_stays(name, value):
    assert spins_in_a_process(**{name: value}) == ["False", {"PASSIVE": "0"}.get(value, value)]


def test_a_user_who_sets_the_number_of_threads_has_torchs_own_waits():
    assert spins_in_a_process(OMP_NUM_THREADS="2") == ["False", "300000"]


def test_nothing_changes_once_torch_is_loaded():
    environment: dict[str, str] = {}
    assert not shorten_waits(environment)
    assert environment == {}
