# ruff: noqa: NPY002 - the global generator is the one in question
import numpy as np
import pytest

from vestim_pl.functional.numpy_state import NumpyState

DRAWS = {
    "nothing": lambda: None,
    "one uniform": np.random.rand,
    "one normal": np.random.randn,  # keeps the second of its pair
    "a pair of normals": lambda: np.random.randn(2),
    "a seed": lambda: np.random.seed(7),
    "the same seed again": lambda: np.random.seed(3),
    "many words": lambda: np.random.rand(1000),
    "an integer of 32 bit": lambda: np.random.randint(10, dtype=np.int32),
}


@pytest.fixture(autouse=True)
def _restore_generator():
    state = np.random.get_state()
    np.random.seed(3)
    yield
    np.random.set_state(state)


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("second", DRAWS)
@pytest.mark.parametrize("first", DRAWS)
def test_state_is_numpys_whatever_was_drawn(first, second):
    reader = NumpyState()
    reader.read()
    for draw in (first, second):
        DRAWS[draw]()
        assert equal(reader.read(), np.random.get_state())
        assert equal(reader.read(), np.random.get_state())


def test_another_generator_is_noticed():
    reader, before = NumpyState(), np.random.get_bit_generator()
    reader.read()
    try:
        np.random.set_bit_generator(np.random.MT19937(9))
        assert equal(reader.read(), np.random.get_state())
    finally:
        np.random.set_bit_generator(before)
    assert equal(reader.read(), np.random.get_state())


def test_state_read_before_is_not_changed_by_later_draws():
    reader = NumpyState()
    state = reader.read()
    expected = np.random.rand(5)
    reader.read()
    np.random.set_state(state)
    assert np.array_equal(np.random.rand(5), expected)
