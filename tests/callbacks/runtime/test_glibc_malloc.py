import json
import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

# A loop that allocates, fills and frees 64 MiB, in a program of its own: page faults are counted, not seconds.
PROGRAM = """
import json, resource, torch
from vestim_pl.callbacks.runtime.glibc_malloc import keep_freed_memory
torch.set_num_threads(1)
ROUNDS = 5

def faults():
    for _ in range(10):  # until adjacent free blocks have merged into one that is large enough
        torch.ones(16 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(ROUNDS):
        torch.ones(16 << 20)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / ROUNDS

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

plain = faults()
done = keep_freed_memory()
kept, held = faults(), resident()
again = keep_freed_memory(False)
print(json.dumps([done, again, plain, kept, held - resident()]))
"""


def run(**variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment.pop("GLIBC_TUNABLES", None)
    command = [sys.executable, "-c", PROGRAM]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env={**environment, **variables})
    return json.loads(output.stdout)


def test_kept_memory_is_reused_without_page_faults_until_it_is_returned():
    done, again, plain, kept, returned = run()
    assert done
    assert again
    pages = 32  # of 2 MiB, the smallest number of pages in 64 MiB if the system has huge pages
    assert plain >= pages
    assert kept < 1
    assert returned > 60  # MiB


@pytest.mark.parametrize(
    "variables",
    [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}],
    ids=str,
)
def test_settings_of_the_environment_stay(variables):
    done, again, _, kept, _ = run(**variables)
    assert not done
    assert not again
    assert kept >= 32
