import random

import pytest

from vestim_pl.functional.python_state import PythonState

DRAWS = {
    "nothing": lambda: None,
    "one uniform": random.random,
    "one normal": lambda: random.gauss(0.0, 1.0),  # keeps the second of its pair
    "a pair of normals": lambda: (random.gauss(0.0, 1.0), random.gauss(0.0, 1.0)),
    "a seed": lambda: random.seed(7),
    "the same seed again": lambda: random.seed(3),
    "many words": lambda: [random.random() for _ in range(1000)],
    "a shuffle": lambda: random.shuffle(list(range(5))),
}


@pytest.fixture(autouse=True)
def _restore_generator():
    state = random.getstate()
    random.seed(3)
    yield
    random.setstate(state)


@pytest.mark.parametrize("second", DRAWS)
@pytest.mark.parametrize("first", DRAWS)
def test_state_is_pythons_whatever_was_drawn(first, second):
    reader = PythonState()
    reader.read()
    for draw in (first, second):
        DRAWS[draw]()
        assert reader.read() == random.getstate()
        assert reader.read() == random.getstate()


def test_state_put_back_is_noticed():
    reader = PythonState()
    first = reader.read()
    random.random()
    reader.read()
    random.setstate(first)
    assert reader.read() == first


def test_nothing_is_read_while_nothing_is_drawn(monkeypatch):
    reader = PythonState()
    reader.read()
    monkeypatch.setattr(random, "getstate", None)
    assert reader.read() is reader.read()
