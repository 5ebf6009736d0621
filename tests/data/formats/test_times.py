import datetime

import numpy as np
import pandas as pd
import pytest

from vestim_pl.data.formats.times import seconds
from vestim_pl.data.formats.units import Unit
from vestim_pl.errors import DataError


def read(values, **options):
    return seconds(pd.Series(values), "r.csv", "Time", **options).tolist()


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        (None, 1),
        (Unit.SECOND, 1),
        (Unit.MILLISECOND, 1e-3),
        (Unit.MICROSECOND, 1e-6),
        (Unit.NANOSECOND, 1e-9),
        (Unit.MINUTE, 60),
        (Unit.HOUR, 3600),
        (Unit.DAY, 86_400),
    ],
)
def test_numbers_are_multiplied_by_their_unit(unit, factor):
    assert read([0, 2, 5], unit=unit) == pytest.approx([0, 2 * factor, 5 * factor])
    assert read(["0", "2.5"], unit=unit) == pytest.approx([0, 2.5 * factor])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["23:59:59", "24:00:05", "124:00:00.25"], [86_399, 86_405, 446_400.25]),
        (["  0d 00:00:01.00", " 12d 00:00:01.00"], [1, 1_036_801]),
        (["1 days 00:00:02", "2 days 00:00:02"], [86_402, 172_802]),
        (["1.00:00:02", "2:00:00:02"], [86_402, 172_802]),
        (["00:00:00,5", "00:00:01,5"], [0.5, 1.5]),
        ([datetime.timedelta(seconds=5), datetime.timedelta(days=1)], [5, 86_400]),
        (pd.to_timedelta([1.5, 100_000], unit="s"), [1.5, 100_000]),
    ],
)
def test_clock_times_and_durations_are_seconds_whatever_the_unit(values, expected):
    assert read(values) == read(values, unit=Unit.HOUR) == expected


@pytest.mark.parametrize("resolution", ["s", "ms", "us", "ns"])
def test_durations_of_any_resolution_are_real_seconds(resolution):
    assert read(pd.Series([0, 7, 90_000], dtype="timedelta64[s]").astype(f"timedelta64[{resolution}]")) == [
        0,
        7,
        90_000,
    ]


@pytest.mark.parametrize(
    "values",
    [
        ["2031-03-04 23:59:59", "2031-03-05 00:00:00.500"],
        ["2031-03-04T23:59:59Z", "2031-03-05T00:00:00.500Z"],
        ["2031-03-04T23:59:59+01:00", "2031-03-05T01:00:00.500+02:00"],
        ["28.03.2031 23:59:59", "29.03.2031 00:00:00,5"],
        ["03.04.2031 23:59:59", "04.04.2031 00:00:00.5"],
        ["13/04/2031 23:59:59", "14/04/2031 00:00:00.5"],
        ["04/13/2031 11:59:59 PM", "04/14/2031 12:00:00.5 AM"],
        ["3/4/2031 10:00:00", "3/4/2031 10:00:01.5"],
        ["04-Mar-2031 23:59:59", "05-Mar-2031 00:00:00.5"],
        ["2031/03/04 23:59:59", "2031/03/05 00:00:00.5"],
        [datetime.datetime(2031, 3, 4, 23, 59, 59), datetime.datetime(2031, 3, 5, 0, 0, 0, 500_000)],
        pd.to_datetime(["2031-03-04 23:59:59", "2031-03-05 00:00:00.5"], format="ISO8601"),
        pd.to_datetime(["2031-03-04 23:59:59", "2031-03-05 00:00:00.5"], format="ISO8601").tz_localize("Europe/Berlin"),
    ],
)
def test_dates_count_from_the_first_row(values):
    assert read(values) == [0.0, 1.5]


def test_day_and_month_are_asked_for_only_where_they_matter():
    dates = ["03/04/2031 23:59:59", "04/04/2031 00:00:00"]
    with pytest.raises(
        DataError, match=r"'03/04/2031 23:59:59'.*data\.date_order=day_first or data\.date_order=month_first"
    ):
        read(dates)
    assert read(dates, date_order="day_first") == [0.0, 1.0]
    assert read(dates, date_order="month_first") == [0.0, 31 * 86_400 - 86_399]
    assert read([*dates, "13/04/2031 00:00:00"])[:2] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("values", "row", "shown"),
    [
        (["a", "b"], 0, "'a'"),
        (["0", "1", "x"], 2, "'x'"),
        (["00:00:01", "00:00:02", "end"], 2, "'end'"),
        (["2031-03-04", "none of these"], 1, "'none of these'"),
        (["10:05", "10:06"], 0, "'10:05', in which the hours or the seconds are missing"),
        (["00:59.5", "01:00.5"], 0, "'00:59.5', in which the hours or the seconds are missing"),
        (["0", "1,000", "2,000"], 1, "'1,000'"),
    ],
)
def test_what_is_no_time_is_refused_with_its_row(values, row, shown):
    with pytest.raises(DataError, match=rf"^r\.csv: column 'Time', row {row} .* is not a time but {shown}"):
        read(values)


def test_a_time_beyond_all_dates_is_refused_or_read():
    assert read(["04/12/1031 11:59:54 PM", "04/12/1031 11:59:55.5 PM"]) == [0.0, 1.5]
    with pytest.raises(DataError, match=r"^r\.csv: column 'Time'"):
        read(["00:00:01", "999999999999d 00:00:02"])


def test_values_that_are_no_times_are_refused():
    for values in ([True, False], [1j, 2j]):
        with pytest.raises(DataError, match="has no times"):
            read(values)


@pytest.mark.parametrize(
    "values", [[0.0, None], ["00:00:01", None], ["2031-03-04", None], [pd.Timedelta("1s"), pd.NaT]]
)
def test_a_missing_time_stays_missing(values):
    got = read(values)
    assert np.isfinite(got[0])
    assert np.isnan(got[1])


def test_every_row_is_read_in_its_place_and_the_index_does_not_matter():
    times = pd.Series(["00:00:02", "00:00:01"], index=[7, 3])
    assert seconds(times, "r.csv", "Time").tolist() == [2.0, 1.0]
