import numpy as np

from vestim_pl.inspection.coverage import coverage


def rows(current, temperature, soc, count=1000):
    """Rows that fill the ranges evenly."""
    random = np.random.default_rng(0)
    return np.stack([random.uniform(*each, count) for each in (current, temperature, soc)], axis=1).astype(np.float32)


def test_a_colder_test_is_said_with_its_range_and_share():
    train, test = rows((-10, 5), (0, 40), (0.1, 1)), rows((-10, 5), (-20, 20), (0.2, 0.9))
    (outside, together) = coverage({"train": train, "val": train, "test": test}).outside
    assert (outside.split, outside.what) == ("test", "temperature")
    assert abs(outside.share - 0.5) < 0.05
    assert "outside 0.0" in outside.text
    assert together.what == "temperature and SOC"


def test_a_test_within_the_training_is_silent():
    train = rows((-10, 5), (0, 40), (0.1, 1))
    assert coverage({"train": train, "val": train[::2], "test": train[::3]}).outside == []


def test_ranges_that_overlap_only_one_by_one_are_said():
    """Cold and full, warm and empty: each value alone is known, but never cold and empty."""
    train = np.concatenate([rows((-5, 5), (-20, -10), (0.8, 1.0)), rows((-5, 5), (20, 30), (0.0, 0.3))])
    test = rows((-5, 5), (-20, -10), (0.1, 0.3))
    (outside,) = coverage({"train": train, "val": train, "test": test}).outside
    assert (outside.what, outside.share) == ("temperature and SOC", 1.0)


def test_a_missing_temperature_is_no_range():
    train = rows((-10, 5), (0, 40), (0.1, 1))
    train[:, 1] = np.nan
    found = coverage({"train": train, "val": train, "test": train})
    assert found.outside == []
    assert "temperature" not in found.ranges["train"]


def test_a_stronger_charge_than_in_the_training_is_said():
    train, test = rows((-10, 5), (0, 40), (0.1, 1)), rows((-10, 20), (0, 40), (0.1, 1))
    (outside,) = coverage({"train": train, "val": train, "test": test}).outside
    assert (outside.split, outside.what) == ("test", "current")
    assert abs(outside.share - 0.5) < 0.05
