import numpy as np
import pytest

from vestim_pl.data.preparation.twin_times import keep_later_twins
from vestim_pl.errors import DataError


def test_the_last_of_equal_times_stays_and_they_are_counted(table):
    kept, notes = keep_later_twins(table(time=[0.0, 1.0, 1.0, 1.0, 2.0], current=[0.0, 1.0, 2.0, 3.0, 4.0]))
    assert kept["current"].tolist() == [0.0, 3.0, 4.0]
    assert kept.rows.tolist() == [0, 3, 4]
    assert notes[0].rows == 2


def test_without_twins_nothing_changes(table):
    same = table(time=[0.0, 1.0])
    assert keep_later_twins(same) == (same, [])


def test_rows_on_both_sides_of_a_cut_are_no_twins(table):
    cut = table(starts=(0, 2), time=[0.0, 1.0, 1.0, 2.0])
    assert len(keep_later_twins(cut)[0]) == 4


def test_times_that_lost_their_fractions_are_refused(table):
    with pytest.raises(DataError, match=r"^r\.csv: 36 of 40 rows have the same time as the row before them"):
        keep_later_twins(table(time=np.floor(np.arange(40) / 10)), "r.csv")
