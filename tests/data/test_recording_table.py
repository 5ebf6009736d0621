import numpy as np
import pytest
import torch

from vestim_pl.data import RecordingTable


def test_rows_are_located_in_their_recordings(table):
    three = table(4, 3, 5)
    assert three.recording_of(range(12)).tolist() == [0] * 4 + [1] * 3 + [2] * 5
    assert [tuple(place) for place in three.locate([0, 3, 4, 11])] == [
        ("r0", 0, 0.0),
        ("r0", 3, 3.0),
        ("r1", 0, 0.0),
        ("r2", 4, 4.0),
    ]
    with pytest.raises(IndexError, match="not all in a table of 12 rows"):
        three.locate([12])
    with pytest.raises(IndexError):
        three.recording_of(-1)


def test_a_span_ends_with_its_recording(table):
    two = table(4, 6)
    assert two.span(5, 3) == {"recording": "r1", "start_row": 1, "end_row": 3, "start_time": 1.0, "end_time": 3.0}
    assert two.span(2, 9)["end_row"] == 3
    assert set(two.span(-1, 9).values()) == {None}


def test_times_are_those_of_the_files():
    times = [np.array([5.0, 5.5, 7.0]), np.array([1e9, 1e9 + 3600.25])]
    two = RecordingTable.of(["x", "y"], [torch.zeros(3, 1), torch.zeros(2, 1)], [torch.zeros(3), torch.zeros(2)], times)
    assert two.locate([4])[0].time == 1e9 + 3600.25
    assert two.hours == pytest.approx((2 + 3600.25) / 3600)


def test_a_recording_is_found_by_name(table):
    two = table(4, 6)
    assert two.recording("r1") == slice(4, 10)
    with pytest.raises(KeyError, match="no recording 'x' among r0, r1"):
        two.recording("x")


def test_to_its_own_device_it_is_the_same(table):
    one = table(4)
    assert one.to(torch.device("cpu")) is one
    moved = one.to(torch.device("meta"))
    assert moved.device.type == "meta"
    assert moved.names == one.names
    assert one.nbytes == 4 * (2 * 4 + 4 + 8)
