import numpy as np
import pytest

from vestim_pl.data.preparation.gaps import cut_at_gaps
from vestim_pl.errors import DataError


def test_a_gap_of_more_than_ten_intervals_cuts_and_one_of_ten_does_not(table):
    time = [0.0, 1.0, 2.0, 12.0, 13.0, 24.0, 25.0]
    cut, notes = cut_at_gaps(table(time=time), None)
    assert cut.starts == (0, 5)
    assert notes[0].rows == 1
    assert cut_at_gaps(table(time=time), 9.0)[0].starts == (0, 3, 5)
    assert cut_at_gaps(table(time=time), 60.0)[0].starts == (0,)


def test_time_that_starts_again_cuts(table):
    time = np.concatenate([np.arange(100.0), np.arange(100.0)])
    cut, notes = cut_at_gaps(table(time=time), None)
    assert cut.starts == (0, 100)
    assert "starts again" in notes[0].text


def test_rows_in_the_wrong_order_are_refused_with_their_row(table):
    with pytest.raises(DataError, match=r"a\.csv: .*row 2 .*does not increase \(1\.5 after 2\).*data\.columns\.time"):
        cut_at_gaps(table(time=[0.0, 2.0, 1.5, 4.0, 6.0]), None, "a.csv")


def test_the_time_within_a_step_is_refused(table):
    with pytest.raises(DataError, match=r"does not increase .* and so 9 times.*data\.columns\.time"):
        cut_at_gaps(table(time=np.tile(np.arange(20.0), 10)), None)


def test_neighbours_across_a_cut_count_as_no_interval(table):
    cut, _ = cut_at_gaps(table(time=[0.0, 1.0, 2.0, 90.0, 91.0]), None)
    assert cut.intervals.tolist() == [1.0, 1.0, 1.0]
