# ruff: noqa: NPY002 - the global generator is the one in question
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from vestim_pl.callbacks.crash_bundle.numpy_state import NumpyState
from vestim_pl.callbacks.crash_bundle.python_state import PythonState


class Generator(NamedTuple):
    reader: type
    get: Callable[[], Any]
    put: Callable[[Any], None]
    seed: Callable[[int], None]
    uniform: Callable[[], float]
    normal: Callable[[], float]
    word: Callable[[], Any]


GENERATORS = {
    "Python": Generator(
        PythonState, random.getstate, random.setstate, random.seed, random.random, lambda: random.gauss(0.0, 1.0),
        lambda: random.shuffle(list(range(5))),
    ),
    "NumPy": Generator(
        NumpyState, np.random.get_state, np.random.set_state, np.random.seed, np.random.rand, np.random.randn,
        lambda: np.random.randint(10, dtype=np.int32),
    ),
}  # fmt: skip
DRAWS: dict[str, Callable[[Generator], Any]] = {
    "nothing": lambda generator: None,
    "one uniform": lambda generator: generator.uniform(),
    "one normal": lambda generator: generator.normal(),  # keeps the second of its pair
    "a pair of normals": lambda generator: (generator.normal(), generator.normal()),
    "a seed": lambda generator: generator.seed(7),
    "the same seed again": lambda generator: generator.seed(3),
    "many words": lambda generator: [generator.uniform() for _ in range(1000)],
    "a part of a word": lambda generator: generator.word(),
}


@pytest.fixture(params=GENERATORS)
def generator(request):
    generator = GENERATORS[request.param]
    state = generator.get()
    generator.seed(3)
    yield generator
    generator.put(state)


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("second", DRAWS)
@pytest.mark.parametrize("first", DRAWS)
def test_state_is_the_generators_whatever_was_drawn(generator, first, second):
    reader = generator.reader()
    reader.read()
    for draw in (first, second):
        DRAWS[draw](generator)
        assert equal(reader.read(), generator.get())
        assert equal(reader.read(), generator.get())


def test_state_put_back_is_noticed(generator):
    reader = generator.reader()
    first = reader.read()
    generator.uniform()
    reader.read()
    generator.put(first)
    assert equal(reader.read(), first)


def test_state_read_before_is_not_changed_by_later_draws(generator):
    reader = generator.reader()
    state = reader.read()
    expected = [generator.uniform() for _ in range(5)]
    reader.read()
    generator.put(state)
    assert [generator.uniform() for _ in range(5)] == expected


def test_pythons_is_not_read_while_nothing_is_drawn(monkeypatch):
    reader = PythonState()
    reader.read()
    monkeypatch.setattr(random, "getstate", None)
    assert reader.read() is reader.read()


def test_another_generator_of_numpy_is_noticed():
    reader, before = NumpyState(), np.random.get_bit_generator()
    reader.read()
    try:
        np.random.set_bit_generator(np.random.MT19937(9))
        assert equal(reader.read(), np.random.get_state())
    finally:
        np.random.set_bit_generator(before)
    assert equal(reader.read(), np.random.get_state())
