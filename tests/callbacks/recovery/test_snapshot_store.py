import torch

from vestim_pl.callbacks.recovery.snapshot_store import SnapshotStore


def test_a_snapshot_on_probation_is_not_good_until_confirmed():
    store = SnapshotStore()
    store.offer({"step": 1})
    assert store.newest is None
    store.step_back(to_older=False)
    assert not store.confirm()
    assert store.newest is None


def test_two_generations_and_never_less_than_one():
    store = SnapshotStore()
    for step in range(3):
        store.offer({"step": step})
        assert store.confirm()
    assert store.good == [{"step": 1}, {"step": 2}]
    store.step_back(to_older=False)
    assert store.newest == {"step": 2}
    store.step_back(to_older=True)
    store.step_back(to_older=True)
    assert store.newest == {"step": 1}


def test_state_round_trip():
    store, other = SnapshotStore(), SnapshotStore()
    store.offer({"weights": torch.ones(1)})
    store.confirm()
    store.offer({"weights": torch.zeros(1)})
    other.load_state_dict(store.state_dict())
    assert other.confirm()
    assert [float(snapshot["weights"]) for snapshot in other.good] == [1.0, 0.0]
    other.load_state_dict({})
    assert other.newest is None


def test_the_best_one_is_old_enough_and_survives_the_others():
    store = SnapshotStore()
    for step in (0, 100, 200):
        store.offer({"global_step": step})
        store.confirm()
    store.mark_best(since=150)
    for step in (300, 400):
        store.offer({"global_step": step})
        store.confirm()
    other = SnapshotStore()
    store.validated = {"global_step": 250}
    other.load_state_dict(store.state_dict())
    assert other.validated == {"global_step": 250}
    for each in (store, other):
        each.step_back(to_older=False, to=each.best)
        assert each.good == [{"global_step": 100}]
    store.mark_best(since=0)
    assert store.best == {"global_step": 100}  # none is as old: the oldest
    SnapshotStore().mark_best(since=0)
