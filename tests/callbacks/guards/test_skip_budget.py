from vestim_pl.callbacks.guards.skip_budget import SkipBudget


def test_an_applied_step_ends_the_row_but_not_the_epochs_count():
    budget = SkipBudget(per_epoch=3, consecutive=1)
    for _ in range(3):
        assert budget.skipped(0)[0]
        budget.applied()
    assert not budget.skipped(0)[0]


def test_a_new_epoch_resets_its_count_but_not_the_row():
    budget = SkipBudget(per_epoch=1, consecutive=2)
    assert [budget.skipped(epoch)[0] for epoch in (0, 1, 2)] == [True, True, False]


def test_state_round_trip():
    budget, other = SkipBudget(9, 9), SkipBudget(9, 9)
    budget.skipped(4)
    other.load_state_dict(budget.state_dict())
    assert other.skipped(4) == budget.skipped(4)


def test_an_exceeded_limit_is_worded_as_such():
    row, epoch = SkipBudget(9, 1), SkipBudget(1, 9)
    row.skipped(0), epoch.skipped(0)
    assert row.skipped(0) == (False, "2 skips in a row, 1 allowed")
    assert epoch.skipped(0) == (False, "2 skips in this epoch, 1 allowed")
