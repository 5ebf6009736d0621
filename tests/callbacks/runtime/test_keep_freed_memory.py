from types import SimpleNamespace

import pytest
import torch

from vestim_pl.callbacks import KeepFreedMemory


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
