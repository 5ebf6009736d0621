import json
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from vestim_pl.callbacks import KeepFreedMemory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


@pytest.fixture
def calls(monkeypatch):
    """The calls of the allocator function, in order."""
    made = []

    def record(enabled=True):
        made.append(enabled)
        return True

    monkeypatch.setitem(KeepFreedMemory.setup.__globals__, "keep_freed_memory", record)
    return made


@pytest.mark.parametrize("crash", [True, False])
def test_memory_is_kept_during_a_stage_and_returned_once(calls, crash, foreign, fit):
    seen = []

    def look(module, loss, batch_idx):
        seen.append(list(calls))
        if crash:
            raise RuntimeError("crash")
        return loss

    if crash:
        with pytest.raises(RuntimeError, match="crash"):
            fit(foreign.Module(loss_hook=look), [KeepFreedMemory()])
    else:
        trainer = fit(foreign.Module(loss_hook=look), [KeepFreedMemory()])
        assert calls == [True, False]
        calls.clear()
        trainer.test(foreign.Module(), foreign.loader(), verbose=False)
    assert seen[0] == [True]
    assert calls == [True, False]


def test_nothing_is_done_on_another_device(calls):
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")))
    callback = KeepFreedMemory()
    callback.setup(trainer, None, "fit")
    callback.teardown(trainer, None, "fit")
    assert calls == []


def test_a_setting_that_was_refused_is_not_undone(monkeypatch, foreign, fit):
    made = []

    def refuse(enabled=True):
        made.append(enabled)
        return False

    monkeypatch.setitem(KeepFreedMemory.setup.__globals__, "keep_freed_memory", refuse)
    fit(foreign.Module(), [KeepFreedMemory()])
    assert made == [True]


# A loop that allocates, fills and frees 64 MiB, in a program of its own: page faults are counted, not seconds.
PROGRAM = """
import json, resource, torch
from vestim_pl.callbacks.runtime.keep_freed_memory import keep_freed_memory
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


@glibc
def test_kept_memory_is_reused_without_page_faults_until_it_is_returned():
    done, again, plain, kept, returned = run()
    assert done
    assert again
    pages = 32  # of 2 MiB, the smallest number of pages in 64 MiB if the system has huge pages
    assert plain >= pages
    assert kept < 1
    assert returned > 60  # MiB


@glibc
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
